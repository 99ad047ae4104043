"""Which kind of request each body of the pool is. Pure."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from loadtest.errors import RunFailed


def mix(weights: Sequence[float], count: int, generator: np.random.Generator) -> list[int]:
    """Return a kind for each place, as often as its weight says and in random order.

    Of every kind there is one at least, among the first places, so that even a short run has it.
    """
    kinds = len(weights)
    if kinds > count:
        raise RunFailed(f"{kinds} kinds of requests in {count} calls; leave some kinds out")
    counts = _counts(weights, count)
    rest = np.repeat(np.arange(kinds), counts - 1)
    order: list[int] = [
        *generator.permutation(kinds).tolist(),
        *generator.permutation(rest).tolist(),
    ]
    return order


def _counts(weights: Sequence[float], count: int) -> npt.NDArray[np.int64]:
    """Round shares of a whole to whole numbers, none 0, that add up to it."""
    if not math.isfinite(max(weights)):
        raise RunFailed("requests: every weight must be a finite number")
    # By the largest first: the sum of huge weights is not finite, their shares are.
    shares = np.array(weights) / max(weights)
    exact = shares / shares.sum() * count
    counts: npt.NDArray[np.int64] = np.maximum(np.floor(exact).astype(np.int64), 1)
    while (missing := count - int(counts.sum())) > 0:
        counts[int((exact - counts).argmax())] += 1
    while missing < 0:
        counts[int(np.where(counts > 1, counts - exact, -np.inf).argmax())] -= 1
        missing += 1
    return counts
