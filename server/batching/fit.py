"""Fit the cost model to measured runs: least squares of relative errors, no negative coefficient.

Pure NumPy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from server.batching.cost import Cost

Reals = NDArray[np.float64]

MIN_TO_SPARE = 8
"""Observations from which on one of them may be left out."""
OUTLIER_GAIN = 3.0
"""An observation is left out when the others then fit so many times better. One that the machine
disturbed stands alone like that; a model that is a little wrong is so everywhere."""
NOISE = 1e-3
"""Relative error below which a fit is as good as a clock allows."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one run held and took."""

    num_rows: int
    width: int
    """Tokens per row, padding included."""
    num_segments: int
    seconds: float


def fit(observations: Sequence[Observation]) -> Cost:
    """Return the cost model with the least relative errors; one outlier does not bend it.

    What the observations cannot tell apart goes to whichever coefficient explains them best.
    """
    shapes = np.array([_terms(one) for one in observations], np.float64)
    # Each equation is divided by what it should come to, which makes its error relative.
    equations = shapes / np.array([[one.seconds] for one in observations])
    coefficients, error = _solve(equations)
    if len(equations) >= MIN_TO_SPARE:
        others = [_solve(np.delete(equations, index, 0)) for index in range(len(equations))]
        candidate, without = min(others, key=lambda found: found[1])
        if max(without, NOISE) * OUTLIER_GAIN < error:
            coefficients = candidate
    return Cost(*map(float, coefficients))


def relative_errors(cost: Cost, observations: Sequence[Observation]) -> list[float]:
    """Return predicted over measured seconds, less 1, of each run."""
    return [
        cost.run(one.num_rows, one.width, one.num_segments) / one.seconds - 1.0
        for one in observations
    ]


def _terms(one: Observation) -> tuple[int, ...]:
    """Return what each coefficient of `Cost` is multiplied with, in the order of its fields."""
    tokens = one.num_rows * one.width
    return 1, one.num_rows, tokens, tokens * one.width, one.num_segments


def _solve(equations: Reals) -> tuple[Reals, float]:
    """Return the best coefficients for `equations @ coefficients = 1` and their RMS error.

    Every subset of coefficients is tried with the rest at 0: the best without negative ones is the
    optimum (Lawson and Hanson, Solving Least Squares Problems, ch. 23). With five there are 31.
    """
    count, num_terms = equations.shape
    # Columns differ by orders of magnitude; of equal length they are as well conditioned as can be.
    lengths = np.linalg.norm(equations, axis=0)
    lengths[lengths == 0] = 1.0
    scaled = equations / lengths
    # A trace of ridge keeps columns that say the same from making the system singular.
    gram = scaled.T @ scaled + np.eye(num_terms) * 1e-10
    right = scaled.sum(axis=0)
    best, best_error = np.zeros(num_terms), 1.0
    for size in range(1, num_terms + 1):
        for subset in map(list, combinations(range(num_terms), size)):
            found = np.linalg.solve(gram[np.ix_(subset, subset)], right[subset])
            if found.min() < 0:
                continue
            error = float(np.sqrt(np.mean((scaled[:, subset] @ found - 1.0) ** 2)))
            if error < best_error:
                best, best_error = np.zeros(num_terms), error
                best[subset] = found
    assert count, "there is something to fit"
    return best / lengths, best_error
