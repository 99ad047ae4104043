"""The course of a run: its numbers again, per slice of time, warm-up included.

Pure. The slices are for the eye and for finding when something happened; no verdict rests on
them, so percentiles are given without asking for samples.
"""

import msgspec
import numpy as np

from loadtest.record import Calls, Column
from loadtest.summary import in_flight

_NS_PER_S = 1_000_000_000
# About so many slices make a line that is neither a blur nor a staircase.
_SLICES = 60
_WIDTHS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0)


class Series(msgspec.Struct, frozen=True):
    """One value per slice; null where a slice has no calls. Latency and lag in us."""

    width_s: float
    start_s: list[float]
    offered_per_s: list[float]
    completed_per_s: list[float]
    errors_per_s: list[float]
    in_flight: list[float]
    p50_us: list[float | None]
    p95_us: list[float | None]
    max_us: list[float | None]
    lag_p50_us: list[float | None]
    lag_max_us: list[float | None]


def series(calls: Calls, lag_at_ns: Column, lag_ns: Column, end_ns: int) -> Series:
    """Cut a run from instant 0 to its end into slices.

    Latency and lag belong to the slice in which a call was due, ends to the one they fell in.
    """
    wanted_s = end_ns / _NS_PER_S / _SLICES
    width_s = next((width for width in _WIDTHS_S if width >= wanted_s), _WIDTHS_S[-1])
    width_ns = round(width_s * _NS_PER_S)
    count = max(1, end_ns // width_ns)
    edges = np.arange(count + 1) * width_ns
    answered = calls.where(calls.code == 0)
    failed = calls.where(calls.code != 0)
    latency = [_slice(answered.scheduled_ns, answered.latency_ns, edges, p) for p in (50, 95, 100)]
    lateness = [_slice(lag_at_ns, lag_ns, edges, p) for p in (50, 100)]
    starts, ends = edges[:-1].tolist(), edges[1:].tolist()
    return Series(
        width_s,
        [start / _NS_PER_S for start in starts],
        _rate(calls.scheduled_ns, edges, width_s),
        _rate(calls.done_ns, edges, width_s),
        _rate(failed.done_ns, edges, width_s),
        [in_flight(calls, start, end) for start, end in zip(starts, ends, strict=True)],
        *latency,
        *lateness,
    )


def _rate(instants_ns: Column, edges: Column, width_s: float) -> list[float]:
    counts, _ = np.histogram(instants_ns, edges)
    return [float(count) / width_s for count in counts]


def _slice(
    instants_ns: Column, values_ns: Column, edges: Column, percentile: float
) -> list[float | None]:
    order = np.argsort(instants_ns, kind="stable")
    cuts = np.searchsorted(instants_ns[order], edges)
    parts = np.split(values_ns[order], cuts)[1:-1]
    return [float(np.percentile(part, percentile)) / 1000 if part.size else None for part in parts]
