"""What benchmarks run: floods in a process of their own, our commands, servers, files of texts."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from loadtest.benchmarks.compare import BenchFailed
from loadtest.scenario.lengths import Fixed, LogNormal
from loadtest.served import Served
from loadtest.workload.texts import texts
from protos import inference_pb2 as pb
from protos import inference_pb2_grpc as pb_grpc

IN_FLIGHT = 64
UNLOADED_TOKENS = 16
UNLOADED_S = 2.0
WARMUP_S = 1.0
NUM_TEXTS = 512
SEED = 1
LIGHT = {"GRPC_EXPERIMENTS": "-event_engine_client,-event_engine_listener"}
"""For gRPC in our commands: without its event engine a caller on loopback takes half the CPU."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What every benchmark is told."""

    models: Path
    """Repository."""
    model: str
    seconds: float
    """Length of each measured load."""
    pairs: int
    """How often each side is measured."""
    deadline_s: float
    """Of calls that may expire; 0 lets the benchmark choose."""
    folder: Path
    """For logs and texts; gone afterwards."""

    @property
    def bundle(self) -> Path:
        """The version that is served: the highest."""
        folder = self.models / self.model
        if not folder.is_dir():
            raise BenchFailed(f"{folder} is not there; correct --models or --model, or export it")
        return max(folder.iterdir(), key=lambda one: int(one.name) if one.name.isdigit() else -1)

    def write(self, name: str, lines: list[str]) -> Path:
        """Write texts, one a line."""
        path = self.folder / f"{name}.txt"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def typical(self, server: Served) -> Path:
        """Write texts of the usual lengths, none longer than the model takes."""
        lengths = typical(max_tokens(server, self.model))
        return self.write("typical", texts(lengths, NUM_TEXTS, np.random.default_rng(SEED)))

    def short(self) -> Path:
        """Write the one text that a caller who is alone sends."""
        return self.write("short", texts(Fixed(UNLOADED_TOKENS), 1, np.random.default_rng(SEED)))

    def flood(self, server: Served, lines: Path, *options: str) -> dict[str, Any]:
        """Load a server and return the figures, as `figures.Figures` has them."""
        found: dict[str, Any] = json.loads(
            output(
                *("loadtest.benchmarks.flood", "--target", server.address, "--model", self.model),
                *("--texts", str(lines), "--server-pid", str(server.process.pid), "--json"),
                *("--warmup", str(min(WARMUP_S, self.seconds))),
                *options,
            )
        )
        return found

    def loaded(self, server: Served, lines: Path, in_flight: int = IN_FLIGHT) -> dict[str, Any]:
        """Keep so many calls in flight; each must be answered."""
        found = self.flood(
            server, lines, "--in-flight", str(in_flight), "--seconds", str(self.seconds)
        )
        return _all_answered(found)

    def unloaded(self, server: Served) -> dict[str, Any]:
        """Send one short text after the other to an idle server."""
        seconds = min(UNLOADED_S, self.seconds)
        found = self.flood(server, self.short(), "--in-flight", "1", "--seconds", str(seconds))
        return _all_answered(found)

    def in_process(self, lines: Path) -> dict[str, Any]:
        """Return what `heed-serve bench` says of the bundle."""
        found: dict[str, Any] = json.loads(
            output("server", "bench", str(self.bundle), "--texts", str(lines), "--json")
        )
        return found


def _all_answered(found: dict[str, Any]) -> dict[str, Any]:
    if set(found["codes"]) != {"OK"}:
        raise BenchFailed(f"not every call was answered: {found['codes']}")
    return found


def typical(longest: int) -> LogNormal:
    """Return the lengths of short documents, as in the packaged scenarios."""
    return LogNormal(mean=34.0, sigma=0.8, max=min(231, longest))


def max_tokens(server: Served, model: str) -> int:
    """Return the longest sequence that a model takes, as the server says."""
    with grpc.insecure_channel(server.address) as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        answer = stub.ModelConfig(pb.ModelConfigRequest(name=model), timeout=30)
    return int(answer.config.parameters["max_tokens"].string_value)


def output(module: str, *arguments: str) -> str:
    """Run one of our commands and return its standard output."""
    ended = subprocess.run(  # noqa: S603  (our own commands)
        [sys.executable, "-m", module, *arguments],
        env=LIGHT | os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode != 0:
        raise BenchFailed(f"'{module} {' '.join(arguments)}': {ended.stdout}{ended.stderr}")
    return ended.stdout
