"""The real server in a process of its own, on free ports of this machine."""

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError

import grpc

from protos import inference_pb2_grpc
from protos.heed.v1 import text_pb2_grpc

START_S = 60
STOP_S = 30


@dataclass(frozen=True)
class Target:
    """A server that takes traffic."""

    process: subprocess.Popen[str]
    address: str
    ops: str
    log: Path

    @contextmanager
    def channel(self) -> Iterator[grpc.Channel]:
        with grpc.insecure_channel(
            self.address, options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            yield channel

    @contextmanager
    def text(self) -> Iterator[text_pb2_grpc.TextServiceStub]:
        with self.channel() as channel:
            yield text_pb2_grpc.TextServiceStub(channel)

    @contextmanager
    def inference(self) -> Iterator[inference_pb2_grpc.GRPCInferenceServiceStub]:
        with self.channel() as channel:
            yield inference_pb2_grpc.GRPCInferenceServiceStub(channel)

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body of a path of the ops port."""
        try:
            with urllib.request.urlopen(f"http://{self.ops}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, line_start: str) -> float:
        """Return the sum over the series whose lines start like this."""
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in self.get("/metrics")[1].splitlines()
            if line.startswith(line_start)
        )

    def stop(self) -> int:
        """Send SIGTERM, unless the process has ended, and return the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(STOP_S)


def command(models: Path, *options: str) -> list[str]:
    """Return the command that serves a repository on free ports."""
    free = ("--models", str(models), "--port", "0", "--ops-port", "0")
    return [sys.executable, "-m", "server", *free, *options]


@contextmanager
def serve(models: Path, *options: str) -> Iterator[Target]:
    """Start a server, wait until it is ready, and stop it afterwards."""
    log = models.parent / f"{models.name}.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            command(models, *options), stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("heed ready "), f"the server did not start: {log.read_text()}"
        addresses = dict(part.split("=", 1) for part in line.split()[2:])
        yield Target(process, addresses["grpc"], addresses["ops"], log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(STOP_S)
        process.stdout.close()  # type: ignore[union-attr]  # it was piped above


def run(models: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a server that is expected to end by itself, and return how it did."""
    return subprocess.run(
        command(models, *options), capture_output=True, text=True, timeout=START_S, check=False
    )
