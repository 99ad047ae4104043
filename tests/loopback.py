"""The real server for tests: stubs, probes and metrics of a process on loopback."""

import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError

import grpc

from loadtest import served
from protos import inference_pb2_grpc
from protos.heed.v1 import text_pb2_grpc

START_S = 60


@dataclass(frozen=True)
class Target(served.Served):
    """A server that takes traffic, and ways to talk to it."""

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


@contextmanager
def serve(models: Path, *options: str) -> Iterator[Target]:
    """Start a server, wait until it is ready, and see to it that it ends."""
    with served.serve(models, models.parent / f"{models.name}.log", *options) as running:
        yield Target(running.process, running.address, running.ops, running.log)


def run(models: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a server that is expected to end by itself, and return how it did."""
    return subprocess.run(
        served.command(models, *options),
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
