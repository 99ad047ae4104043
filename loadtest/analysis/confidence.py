"""How many samples a percentile needs, and how sure one is of it.

Pure binomial arithmetic. If the true percentile were above a bound, then each call would be over
the bound with probability above 1 - p; seeing few calls over it makes that unlikely.
"""

import math
from functools import lru_cache

import numpy as np

LEVEL = 0.99
# Outcomes so many standard deviations from the mean weigh less than rounding does.
_FAR = 12


def chance(samples: int, over: int, percentile: float) -> float:
    """Return P(at most `over` of `samples` exceed the percentile), to 12 places."""
    below = percentile / 100
    above = 1 - below
    mean, spread = samples * above, math.sqrt(samples * above * below)
    first = max(0, math.floor(mean - _FAR * spread))
    last = min(over, samples, math.ceil(mean + _FAR * spread) + 4 * _FAR)
    if last < first:
        return 0.0
    ways = math.lgamma(samples + 1) - math.lgamma(first + 1) - math.lgamma(samples - first + 1)
    log_first = ways + first * math.log1p(-below) + (samples - first) * math.log(below)
    k = np.arange(first + 1, last + 1)
    # Each outcome from the one before it.
    logs = np.concatenate([[0.0], np.cumsum(np.log((samples - k + 1) / k * (above / below)))])
    return min(1.0, float(np.exp(log_first + logs).sum()))


@lru_cache(maxsize=4096)
def minimum_samples(percentile: float, over: int = 0) -> int:
    """Return how many samples show that the percentile is under a bound that `over` exceeded."""
    high = over + 1
    while chance(high, over, percentile) > 1 - LEVEL:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if chance(middle, over, percentile) > 1 - LEVEL:
            low = middle
        else:
            high = middle
    return high


def allowed_over(percentile: float, samples: int) -> int | None:
    """Return how many samples may lie over a bound on the percentile; None when too few exist.

    The value just under the largest so many is then an upper bound at 99 % confidence.
    """
    if samples < minimum_samples(percentile):
        return None
    # So many are expected over the percentile itself, which shows nothing about a bound.
    low, high = 0, math.ceil(samples * (1 - percentile / 100)) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if chance(samples, middle, percentile) > 1 - LEVEL:
            high = middle
        else:
            low = middle
    return low
