"""The course of a run: its numbers again, per slice of time, warm-up included.

Pure. The slices are for the eye and for finding when something happened; no verdict rests on
them, so percentiles are given without asking for samples.
"""

import numpy as np

from loadtest.analysis.figures import Series
from loadtest.analysis.summary import in_flight, lateness
from loadtest.analysis.window import NS_PER_S
from loadtest.record.calls import Calls
from loadtest.record.row import Column
from loadtest.scenario.schema import AnyScenario

# About so many slices make a line that is neither a blur nor a staircase.
_SLICES = 60
_WIDTHS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 3600.0)


def series(calls: Calls, scenario: AnyScenario, end_ns: int) -> Series:
    """Cut a run from instant 0 to its end into slices, the last one shorter where it must be.

    Latency and lag belong to the slice in which a call was due, ends to the one they fell in.
    """
    wanted_s = end_ns / NS_PER_S / _SLICES
    width_s = next((width for width in _WIDTHS_S if width >= wanted_s), _WIDTHS_S[-1])
    edges = _edges(end_ns, round(width_s * NS_PER_S))
    answered, failed = calls.answered, calls.where(calls.rows["code"] != 0)
    due_ns = answered.column("scheduled_ns")
    latency = [_slice(due_ns, answered.latency_ns, edges, p) for p in (50, 95, 100)]
    lag = [_slice(*lateness(calls, scenario), edges, p) for p in (50, 100)]
    starts, ends = edges[:-1].tolist(), edges[1:].tolist()
    return Series(
        width_s,
        [start / NS_PER_S for start in starts],
        _rate(calls.column("scheduled_ns"), edges),
        _rate(calls.column("done_ns"), edges),
        _rate(failed.column("done_ns"), edges),
        [in_flight(calls, start, end) for start, end in zip(starts, ends, strict=True)],
        *latency,
        *lag,
    )


def _edges(end_ns: int, width_ns: int) -> Column:
    """Return where slices begin and end; a last stretch shorter than half a slice has none."""
    count = max(1, (end_ns + width_ns // 2) // width_ns)
    edges = np.arange(count + 1, dtype=np.int64) * width_ns
    edges[-1] = max(min(edges[-1], end_ns), edges[-2] + 1)
    return edges


def _rate(instants_ns: Column, edges: Column) -> list[float]:
    # The last edge is left out as all others are; numpy would take it in.
    counts = np.diff(np.searchsorted(np.sort(instants_ns), edges))
    rates: list[float] = (counts / (np.diff(edges) / NS_PER_S)).tolist()
    return rates


def _slice(
    instants_ns: Column, values_ns: Column, edges: Column, percentile: float
) -> list[float | None]:
    order = np.argsort(instants_ns, kind="stable")
    cuts = np.searchsorted(instants_ns[order], edges)
    parts = np.split(values_ns[order], cuts)[1:-1]
    return [float(np.percentile(part, percentile)) / 1000 if part.size else None for part in parts]
