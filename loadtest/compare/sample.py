"""What the statistics need of a run: its latencies by place in the schedule, and its pace. Pure."""

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
    # Seconds between one answer and the next, in the order of their ends.
    gaps_s: Floats

    @classmethod
    def of(cls, calls: Calls, measured_s: float) -> "Sample":
        """Return what a run of so many measured seconds says."""
        answered = calls.measured.answered
        order = np.argsort(answered.column("index"), kind="stable")
        # The floor of every latency here: logarithms need one.
        latency_us = np.maximum(answered.latency_ns[order] / 1000, 1.0)
        return cls(answered.column("index")[order], latency_us, _gaps(calls, measured_s))


def _gaps(calls: Calls, measured_s: float) -> Floats:
    """Return the gaps inside the measured time; what ends after it has nothing behind it."""
    due_ns = calls.measured.column("scheduled_ns")
    if not len(due_ns):
        return np.zeros(0)
    from_ns = int(due_ns.min())
    done_ns = np.sort(calls.answered.column("done_ns"))
    inside = done_ns[(done_ns >= from_ns) & (done_ns <= from_ns + round(measured_s * _NS_PER_S))]
    return np.diff(inside) / _NS_PER_S


def align(a: Sample, b: Sample) -> tuple[Floats, Floats]:
    """Return the latencies of the calls that both sides answered, place by place."""
    _, at_a, at_b = np.intersect1d(a.index, b.index, assume_unique=True, return_indices=True)
    return a.latency_us[at_a], b.latency_us[at_b]
