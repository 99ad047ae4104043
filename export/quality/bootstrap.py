"""Confidence intervals by the paired bootstrap: how much of a difference is the luck of the draw.

Draws the examples anew with replacement, the same ones for both systems, and takes percentiles of
what the measure says (Efron, 1979; for comparing systems Koehn, 2004). Seeded: the same rows give
the same interval.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
"""What a measure needs to know of each example, shape (examples, columns)."""

CONFIDENCE = 0.95
RESAMPLES = 1000
_SEED = 20


@dataclass(frozen=True, slots=True)
class Interval:
    """The middle 95 % of what the resamples say."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Intervals:
    """Of the measure on either system, and of bundle minus reference."""

    reference: Interval
    bundle: Interval
    difference: Interval


def paired_bootstrap(value: Callable[[Rows], float], reference: Rows, bundle: Rows) -> Intervals:
    """Return the intervals of a measure over the rows of both systems.

    Resamples on which the measure has no value (NaN: every drawn score is the same, say) are left
    out, where `scipy.stats.bootstrap` would answer NaN for the whole interval.
    """
    assert reference.shape == bundle.shape
    draw = np.random.default_rng(_SEED)
    # An export that changes no prediction is the usual case and costs half.
    same = np.array_equal(reference, bundle)
    values = np.empty((RESAMPLES, 2))
    for resample in range(RESAMPLES):
        drawn = draw.integers(len(reference), size=len(reference))
        before = value(reference[drawn])
        values[resample] = before, before if same else value(bundle[drawn])
    values = values[np.isfinite(values).all(axis=1)]
    return Intervals(
        reference=_interval(values[:, 0]),
        bundle=_interval(values[:, 1]),
        difference=_interval(values[:, 1] - values[:, 0]),
    )


def _interval(values: NDArray[np.float64]) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high))
