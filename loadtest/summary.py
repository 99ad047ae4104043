"""Turn the record of a run into its numbers.

Pure: columns and a window in, values out. Only calls that were due inside the window count, and
only answered ones have a latency; what the numbers are worth is the verdict's business.
"""

from itertools import pairwise
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from loadtest.confidence import allowed_over, minimum_samples
from loadtest.histogram import Histogram
from loadtest.record import Calls, Column

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}
# The ones worth an upper bound: the tail, where few samples decide.
BOUNDED = ("p95", "p99", "p999")

_NS_PER_S = 1_000_000_000


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Latencies in us. A percentile is null when there are too few samples to claim it."""

    samples: int
    mean: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    p999: float | None
    max: float | None
    # Samples that each percentile needs at 99 % confidence with none over the bound.
    needed: dict[str, int]
    # With 99 % confidence the true percentile is not above these.
    upper: dict[str, float | None]


class Stage(msgspec.Struct, frozen=True):
    """Time in one stage, in us: over all answered calls, and over the slowest one in a hundred."""

    mean: float
    p50: float
    p95: float
    p99: float
    tail_mean: float


class Throughput(msgspec.Struct, frozen=True):
    """Per second of the window. `offered` were due, `completed` ended in any way."""

    offered_per_s: float
    completed_per_s: float
    requests_per_s: float
    texts_per_s: float
    tokens_per_s: float


class Lag(msgspec.Struct, frozen=True):
    """How late the generator was, in us: its sends (open loop) or its timers (closed loop)."""

    of: Literal["sends", "timers"]
    p50: float
    p99: float
    max: float


class Window(msgspec.Struct, frozen=True):
    """The measured time in ns since instant 0; everything before is warm-up."""

    start_ns: int
    end_ns: int

    @property
    def span_s(self) -> float:
        """Length in seconds, never 0."""
        return max(self.end_ns - self.start_ns, 1) / _NS_PER_S

    def holds(self, instants_ns: Column) -> npt.NDArray[np.bool_]:
        """Return which instants lie inside."""
        return (instants_ns >= self.start_ns) & (instants_ns < self.end_ns)


def latency(histogram: Histogram) -> Latency:
    """Return the figures of a histogram, each only if its samples suffice."""
    samples = histogram.count
    needed = {name: minimum_samples(value) for name, value in PERCENTILES.items()}
    figures = {
        name: histogram.percentile(value) if samples >= needed[name] else None
        for name, value in PERCENTILES.items()
    }
    return Latency(
        samples=samples,
        mean=histogram.mean if samples else None,
        max=float(histogram.max) if samples else None,
        needed=needed,
        upper={name: _upper(histogram, PERCENTILES[name]) for name in BOUNDED},
        **figures,
    )


def _upper(histogram: Histogram, percentile: float) -> float | None:
    over = allowed_over(percentile, histogram.count)
    return None if over is None else histogram.value_at(histogram.count - over)


def throughput(calls: Calls, window: Window) -> Throughput:
    """Return what was due and what ended inside the window, per second."""
    ended = calls.where(window.holds(calls.done_ns))
    answered = ended.where(ended.code == 0)
    offered = int(window.holds(calls.scheduled_ns).sum())
    return Throughput(
        offered_per_s=offered / window.span_s,
        completed_per_s=len(ended) / window.span_s,
        requests_per_s=len(answered) / window.span_s,
        texts_per_s=int(answered.texts.sum()) / window.span_s,
        tokens_per_s=int(answered.tokens.sum()) / window.span_s,
    )


def stages(answered: Calls) -> dict[str, Stage]:
    """Return where the time went; empty when the server sent no timings.

    `server` is what the server counted and named no stage for, `outside` everything between the
    generator's send and the server's first byte and back.
    """
    timed = answered.where(answered.total_ns >= 0)
    if len(timed) == 0:
        return {}
    named = timed.tokenize_ns + timed.queue_ns + timed.run_ns
    columns = {
        "lag": timed.lag_ns,
        "tokenize": timed.tokenize_ns,
        "queue": timed.queue_ns,
        "run": timed.run_ns,
        # Texts of one call may run in different batches, so the stages may overlap.
        "server": np.maximum(timed.total_ns - named, 0),
        "outside": np.maximum(timed.send_latency_ns - timed.total_ns, 0),
    }
    slowest = timed.latency_ns >= np.percentile(timed.latency_ns, 99)
    return {name: _stage(column, slowest) for name, column in columns.items()}


def _stage(column: Column, slowest: npt.NDArray[np.bool_]) -> Stage:
    p50, p95, p99 = (float(np.percentile(column, p)) / 1000 for p in (50, 95, 99))
    return Stage(
        mean=float(column.mean()) / 1000,
        p50=p50,
        p95=p95,
        p99=p99,
        tail_mean=float(column[slowest].mean()) / 1000,
    )


def lag(of: Literal["sends", "timers"], late_ns: Column) -> Lag:
    """Return the generator's lateness; zeros when there is nothing to judge."""
    if late_ns.size == 0:
        return Lag(of, 0.0, 0.0, 0.0)
    p50, p99, most = (float(np.percentile(late_ns, p)) / 1000 for p in (50, 99, 100))
    return Lag(of, p50, p99, most)


def in_flight(calls: Calls, start_ns: int, end_ns: int) -> float:
    """Return the mean number of calls between schedule and end over a span (Little's law)."""
    if end_ns <= start_ns:
        return 0.0
    inside = np.minimum(calls.done_ns, end_ns) - np.maximum(calls.scheduled_ns, start_ns)
    return float(np.maximum(inside, 0).sum()) / (end_ns - start_ns)


def in_flight_quarters(calls: Calls, window: Window) -> tuple[float, float, float, float]:
    """Return the mean number of calls in flight in each quarter of the window."""
    edges = [int(edge) for edge in np.linspace(window.start_ns, window.end_ns, 5)]
    first, second, third, last = (in_flight(calls, start, end) for start, end in pairwise(edges))
    return first, second, third, last
