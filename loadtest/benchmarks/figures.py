"""What the calls of one load show: rates, latencies by how they ended, CPU time per call.

Pure; `flood` makes the calls.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

OK = "OK"
REFUSALS = frozenset({"RESOURCE_EXHAUSTED", "UNAVAILABLE"})


@dataclass(frozen=True, slots=True)
class Ended:
    """One call: when it was due, when it ended, how. Seconds since the load began."""

    due_s: float
    end_s: float
    code: str

    @property
    def latency_s(self) -> float:
        """From the instant it was due, whenever it was sent."""
        return self.end_s - self.due_s


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of latencies in ms; all 0 where there were none."""

    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What the measured seconds showed; warm-up is left out."""

    seconds: float
    codes: dict[str, int]
    answered_per_s: float
    """OK."""
    in_time_per_s: float
    """OK within the deadline, counted from the instant the call was due: goodput."""
    answered_ms: Percentiles
    refused_ms: Percentiles
    """RESOURCE_EXHAUSTED and UNAVAILABLE: how soon a caller knows that it was not taken."""
    lag_ms: Percentiles
    """How late calls were sent; without a schedule all 0."""
    client_cpu_ms: float
    """Per call that ended."""
    server_cpu_ms: float
    """Per call answered OK; 0 when the server's process is not known."""


@dataclass(frozen=True, slots=True)
class Window:
    """Which calls count."""

    warmup_s: float
    seconds: float
    deadline_s: float
    by_due: bool
    """Calls of a schedule count by the instant they were due, others by that of their end."""


def figures(
    window: Window,
    ended: Sequence[Ended],
    lags_s: Sequence[tuple[float, float]],
    used_s: tuple[float, float],
) -> Figures:
    """Return what the calls of a window show.

    `lags_s` holds (instant due, how late it was sent); `used_s` the CPU seconds of the client and
    of the server meanwhile.
    """
    first, last = window.warmup_s, window.warmup_s + window.seconds
    seen = [one for one in ended if first <= (one.due_s if window.by_due else one.end_s) < last]
    answered = [one for one in seen if one.code == OK]
    refused = [one.latency_s for one in seen if one.code in REFUSALS]
    in_time = sum(one.latency_s <= window.deadline_s for one in answered)
    client_s, server_s = used_s
    return Figures(
        seconds=window.seconds,
        codes=dict(Counter(one.code for one in seen)),
        answered_per_s=len(answered) / window.seconds,
        in_time_per_s=in_time / window.seconds,
        answered_ms=percentiles([one.latency_s for one in answered]),
        refused_ms=percentiles(refused),
        lag_ms=percentiles([lag_s for due_s, lag_s in lags_s if due_s >= first]),
        client_cpu_ms=client_s * 1000 / max(1, len(seen)),
        server_cpu_ms=server_s * 1000 / max(1, len(answered)),
    )


def percentiles(seconds: Sequence[float]) -> Percentiles:
    """Return the percentiles of some durations, in ms."""
    if not seconds:
        return Percentiles(0.0, 0.0, 0.0, 0.0)
    return Percentiles(*np.percentile(np.array(seconds) * 1000, (50, 90, 99, 100)).tolist())
