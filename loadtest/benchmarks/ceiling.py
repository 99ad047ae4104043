"""Served against the same bundle run in process: texts per second, CPU per text, time of one."""

from typing import Any

from loadtest import served
from loadtest.benchmarks.compare import Comparison, Figures, interleave
from loadtest.benchmarks.runs import IN_FLIGHT, Bench

RATE, CPU = "texts/s", "CPU ms per text"
P50, P99 = "unloaded p50, ms", "unloaded p99, ms"
SERVED, IN_PROCESS = f"served, {IN_FLIGHT} in flight", "in process"


def packing(bench: Bench) -> list[Comparison]:
    """Compare packed with padded batches, served."""
    with (
        served.serve(bench.models, bench.folder / "packed.log", "--batching", "packed") as packed,
        served.serve(bench.models, bench.folder / "padded.log", "--batching", "padded") as padded,
    ):
        lines = bench.typical(packed)
        sides = {
            "packed": lambda: _load(bench.loaded(packed, lines)),
            "padded, first come first served, 16 rows": lambda: _load(bench.loaded(padded, lines)),
        }
        return [interleave(f"packed against padded, {bench.model}", sides, bench.pairs)]


def ceiling(bench: Bench) -> list[Comparison]:
    """Compare served with in process."""
    with served.serve(bench.models, bench.folder / "server.log") as server:
        lines = bench.typical(server)
        sides = {
            SERVED: lambda: _load(bench.loaded(server, lines)) | _alone(bench.unloaded(server)),
            IN_PROCESS: lambda: _ceiling(bench.in_process(lines)),
        }
        found = interleave(f"served against the ceiling, {bench.model}", sides, bench.pairs)
    more_ms = [
        ours[P50] - theirs[P50]
        for ours, theirs in zip(found.turns[SERVED], found.turns[IN_PROCESS], strict=True)
    ]
    for turn, value in zip(found.turns[SERVED], more_ms, strict=True):
        turn["unloaded p50 beyond in process, ms"] = value
    return [found]


def _load(found: dict[str, Any]) -> Figures:
    return {RATE: found["answered_per_s"], CPU: found["server_cpu_ms"]}


def _alone(found: dict[str, Any]) -> Figures:
    latency = found["answered_ms"]
    return {
        P50: latency["p50"],
        P99: latency["p99"],
        "unloaded p99 / p50": latency["p99"] / latency["p50"],
    }


def _ceiling(found: dict[str, Any]) -> Figures:
    figures = {
        RATE: found["texts_per_s"],
        CPU: found["cpu_ms_per_text"],
        P50: found["unloaded_p50_ms"],
    }
    if "unloaded_p99_ms" in found:
        figures[P99] = found["unloaded_p99_ms"]
    return figures
