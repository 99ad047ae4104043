"""What the statistics need of a run: latencies by place in the schedule, throughput. Pure."""

from dataclasses import dataclass

import numpy as np

from loadtest.compare.blocks import Floats, Places
from loadtest.record.calls import Calls

_NS_PER_S = 1e9


@dataclass(frozen=True)
class Sample:
    """The answered calls of the measured time."""

    # Places in the schedule, ascending, and the latency from schedule of each, us.
    index: Places
    latency_us: Floats
    # Answered calls per second; 0 without any.
    per_s: float

    @classmethod
    def of(cls, calls: Calls, measured_s: float) -> "Sample":
        """Return what a run of so many measured seconds says."""
        answered = calls.measured.answered
        order = np.argsort(answered.column("index"), kind="stable")
        # The floor of every latency here: logarithms need one.
        latency_us = np.maximum(answered.latency_ns[order] / 1000, 1.0)
        return cls(answered.column("index")[order], latency_us, _per_s(calls, measured_s))


def _per_s(calls: Calls, measured_s: float) -> float:
    """Return answered calls per second of the measured time.

    A call that crosses an edge of it counts by the part of its time that lies inside. To count
    whole calls would leave it to chance whether the last batch ends before or after the edge: of a
    short run that is several per cent.
    """
    due_ns = calls.measured.column("scheduled_ns")
    if not len(due_ns) or measured_s <= 0:
        return 0.0
    from_ns = int(due_ns.min())
    end_ns = from_ns + round(measured_s * _NS_PER_S)
    answered = calls.answered
    begun_ns, done_ns = answered.column("scheduled_ns"), answered.column("done_ns")
    inside_ns = np.minimum(done_ns, end_ns) - np.maximum(begun_ns, from_ns)
    parts = np.maximum(inside_ns, 0) / np.maximum(done_ns - begun_ns, 1)
    return float(parts.sum()) / measured_s


def align(a: Sample, b: Sample) -> tuple[Floats, Floats]:
    """Return the latencies of the calls that both sides answered, place by place."""
    _, at_a, at_b = np.intersect1d(a.index, b.index, assume_unique=True, return_indices=True)
    return a.latency_us[at_a], b.latency_us[at_b]
