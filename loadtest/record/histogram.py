"""A latency histogram with microsecond floor and bounded relative error.

Log-linear: every octave is cut into 128 equal steps, so a bucket is never wider than 1/128 of
its lower edge and its midpoint is within 0.4 % of every value in it; below 256 us buckets are
exact. Two histograms merge exactly, because the edges depend on nothing.
"""

import math
from collections import Counter

import numpy as np
import numpy.typing as npt

_BITS = 7
_STEPS = 1 << _BITS

Microseconds = npt.NDArray[np.int64]


class Histogram:
    """Counts of whole microseconds, with exact count, sum and maximum."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.sum = 0
        self.count = 0
        self.max = 0

    @classmethod
    def of_ns(cls, values: npt.NDArray[np.int64]) -> "Histogram":
        """Return the histogram of nanosecond values, rounded; under 1 us counts as 1 us."""
        histogram = cls()
        histogram.record(np.maximum((values + 500) // 1000, 1))
        return histogram

    def record(self, values: Microseconds) -> None:
        """Add many values at once; each at least 1."""
        if values.size == 0:
            return
        indices, counts = np.unique(_indices(values), return_counts=True)
        for index, count in zip(indices.tolist(), counts.tolist(), strict=True):
            self.counts[index] += count
        self.sum += int(values.sum())
        self.count += int(values.size)
        self.max = max(self.max, int(values.max()))

    def merge(self, other: "Histogram") -> None:
        """Add everything that the other one counted."""
        self.counts.update(other.counts)
        self.sum += other.sum
        self.count += other.count
        self.max = max(self.max, other.max)

    @property
    def mean(self) -> float:
        """Exact mean in us; 0 when nothing was recorded."""
        return self.sum / self.count if self.count else 0.0

    def percentile(self, percentile: float) -> float:
        """Return the value, in us, that so many percent of the calls did not exceed."""
        # The product is rounded first: 99.9 % of 1000 must be 999, not 999.0000000001.
        return self.value_at(max(1, math.ceil(round(percentile * self.count / 100, 9))))

    def value_at(self, rank: int) -> float:
        """Return the rank-th smallest value, in us; 1 is the smallest."""
        if not 1 <= rank <= self.count:
            raise ValueError(f"rank {rank} of {self.count} values")
        if rank == self.count:
            return float(self.max)
        seen = 0
        for index in sorted(self.counts):
            seen += self.counts[index]
            if seen >= rank:
                break
        low, width = edges(index)
        return min(low + (width - 1) / 2, float(self.max))

    def buckets(self) -> list[tuple[int, int, int]]:
        """Return (lower edge in us, width in us, count) of every bucket in use, ascending."""
        return [(*edges(index), self.counts[index]) for index in sorted(self.counts)]


def edges(index: int) -> tuple[int, int]:
    """Return the lower edge and the width of a bucket, in us."""
    if index < _STEPS:
        return index, 1
    shift = index // _STEPS - 1
    return (index - shift * _STEPS) << shift, 1 << shift


def _indices(values: Microseconds) -> npt.NDArray[np.int64]:
    # frexp's exponent is the bit length, exact for integers below 2**53 (285 years in us).
    bits = np.frexp(values.astype(np.float64))[1].astype(np.int64)
    shift = np.maximum(bits - _BITS - 1, 0)
    indices: npt.NDArray[np.int64] = shift * _STEPS + (values >> shift)
    return indices
