"""Turn the record of a run into its numbers.

Pure: columns and a window in, values out. Only calls that were due inside the window count, and
only answered ones have a latency; what the numbers are worth is the verdict's business.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np

from loadtest.analysis.confidence import allowed_over, minimum_samples
from loadtest.analysis.figures import Clocks, Lag, Latency, Throughput
from loadtest.analysis.window import Window
from loadtest.record.calls import Calls
from loadtest.record.histogram import Histogram
from loadtest.record.row import Column
from loadtest.scenario.requests import Request
from loadtest.scenario.schema import AnyScenario, Open, Replay

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}
# The ones worth an upper bound: the tail, where few samples decide.
BOUNDED = ("p95", "p99", "p999")


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


def clocks(due: Calls, requests: Sequence[Request]) -> Clocks:
    """Return the latencies of the answered calls by every clock; a first response is a stream's."""
    answered = due.answered
    streams = [number for number, request in enumerate(requests) if request.rpc.endswith("-stream")]
    streamed = answered.where(np.isin(answered.rows["request"], streams))
    return Clocks(
        latency(Histogram.of_ns(answered.latency_ns)),
        latency(Histogram.of_ns(answered.send_latency_ns)),
        latency(Histogram.of_ns(streamed.first_latency_ns)) if streams else None,
    )


def throughput(calls: Calls, window: Window) -> Throughput:
    """Return what was due and what ended inside the window, per second; of all calls of the run."""
    ended = calls.where(window.holds(calls.column("done_ns")))
    answered = ended.answered
    offered = int(window.holds(calls.column("scheduled_ns")).sum())
    return Throughput(
        offered_per_s=offered / window.span_s,
        completed_per_s=len(ended) / window.span_s,
        requests_per_s=len(answered) / window.span_s,
        texts_per_s=int(answered.column("texts").sum()) / window.span_s,
        tokens_per_s=int(answered.column("tokens").sum()) / window.span_s,
    )


def lateness(calls: Calls, scenario: AnyScenario) -> tuple[Column, Column]:
    """Return when the generator was looked at, and how late it was then (ns).

    Where arrivals are fixed, every call tells. Otherwise a call is due when the generator finds
    that another has ended, and cannot be late: a timer beside the calls tells.
    """
    if isinstance(scenario, Open | Replay):
        return calls.column("scheduled_ns"), calls.lag_ns
    return calls.probe_at_ns, calls.probe_lag_ns


def lag(calls: Calls, scenario: AnyScenario, window: Window) -> Lag:
    """Return how late the generator was in the window; zeros when there is nothing to judge."""
    at_ns, late_ns = lateness(calls, scenario)
    late_ns = late_ns[window.holds(at_ns)]
    of: Literal["sends", "timers"] = "sends" if isinstance(scenario, Open | Replay) else "timers"
    if late_ns.size == 0:
        return Lag(of, 0.0, 0.0, 0.0)
    p50, p99, most = (float(np.percentile(late_ns, p)) / 1000 for p in (50, 99, 100))
    return Lag(of, p50, p99, most)


def in_flight(calls: Calls, start_ns: int, end_ns: int) -> float:
    """Return the mean number of calls between schedule and end over a span (Little's law)."""
    if end_ns <= start_ns:
        return 0.0
    ends = np.minimum(calls.column("done_ns"), end_ns)
    inside = ends - np.maximum(calls.column("scheduled_ns"), start_ns)
    return float(np.maximum(inside, 0).sum()) / (end_ns - start_ns)


def in_flight_quarters(calls: Calls, window: Window) -> tuple[float, float, float, float]:
    """Return the mean number of calls in flight in each quarter of the window."""
    edges = [int(edge) for edge in np.linspace(window.start_ns, window.end_ns, 5)]
    first, second, third, last = (in_flight(calls, start, end) for start, end in pairwise(edges))
    return first, second, third, last
