"""Three times what the server can do: what it still answers in time, and how soon it says no."""

from collections.abc import Callable
from time import sleep
from typing import Any

import psutil

from loadtest import served
from loadtest.benchmarks.compare import Comparison, Figures, interleave
from loadtest.benchmarks.runs import Bench

LEVELS = (16, 64, 256)
"""Calls in flight among which the peak lies."""
TIMES = 3.0
MIN_DEADLINE_S, MAX_SLOWDOWN = 0.25, 20.0
"""Calls may take 20 times what one takes alone, and a quarter of a second in any case."""
QUIET_S = 3.0
"""After an overload, until one caller must find the server as it was."""
GOODPUT = "answered in time, texts/s"


def overload(bench: Bench) -> list[Comparison]:
    """Find the peak, offer three times as much, and look how the server is afterwards."""
    with served.serve(bench.models, bench.folder / "server.log") as server:
        lines = bench.typical(server)
        alone_s = _alone_ms(bench, server) / 1000
        deadline_s = bench.deadline_s or max(MIN_DEADLINE_S, MAX_SLOWDOWN * alone_s)

        def flood(*options: str) -> dict[str, Any]:
            common = ("--seconds", str(bench.seconds), "--deadline", str(deadline_s))
            return bench.flood(server, lines, *common, *options)

        def closed(in_flight: int) -> dict[str, Any]:
            return flood("--in-flight", str(in_flight))

        goodput, level = max((closed(level)["in_time_per_s"], level) for level in LEVELS)
        rate = TIMES * goodput
        sides = {
            "overloaded": lambda: _overloaded(bench, server, lambda: flood("--rate", str(rate))),
            f"peak, {level} in flight": lambda: _figures(closed(level)),
        }
        title = (
            f"{TIMES:.0f} x peak ({rate:.0f} calls/s offered, deadline {deadline_s * 1000:.0f} ms)"
        )
        return [interleave(f"{title}, {bench.model}", sides, bench.pairs)]


def _overloaded(
    bench: Bench, server: served.Served, flood: Callable[[], dict[str, Any]]
) -> Figures:
    before_ms, memory = _alone_ms(bench, server), resident_mib(server)
    found = flood()
    growth = resident_mib(server) / memory - 1
    sleep(QUIET_S)
    after_ms = _alone_ms(bench, server)
    codes = found["codes"]
    total = sum(codes.values())
    return _figures(found) | {
        "refused p50, ms": found["refused_ms"]["p50"],
        "refused p99, ms": found["refused_ms"]["p99"],
        "refused, share": codes.get("RESOURCE_EXHAUSTED", 0) / total,
        "expired, share": codes.get("DEADLINE_EXCEEDED", 0) / total,
        "sent late p99, ms": found["lag_ms"]["p99"],
        "resident memory, growth": growth,
        "unloaded p50 before, ms": before_ms,
        f"unloaded p50 {QUIET_S:.0f} s after, ms": after_ms,
        "unloaded p50, after / before": after_ms / before_ms,
    }


def _figures(found: dict[str, Any]) -> Figures:
    return {GOODPUT: found["in_time_per_s"], "answered p99, ms": found["answered_ms"]["p99"]}


def _alone_ms(bench: Bench, server: served.Served) -> float:
    return float(bench.unloaded(server)["answered_ms"]["p50"])


def resident_mib(server: served.Served) -> float:
    """Return the resident memory of a server and its children, in MiB."""
    process = psutil.Process(server.process.pid)
    family = [process, *process.children(recursive=True)]
    return float(sum(one.memory_info().rss for one in family)) / (1 << 20)
