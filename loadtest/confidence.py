"""How many samples a percentile needs, and how sure one is of it.

Pure binomial arithmetic. If the true percentile were above a bound, then each call would be over
the bound with probability above 1 - p; seeing few calls over it makes that unlikely.
"""

import math

LEVEL = 0.99


def chance(samples: int, over: int, percentile: float) -> float:
    """Return P(at most `over` of `samples` exceed the percentile)."""
    below = percentile / 100
    log_below, log_above = math.log(below), math.log1p(-below)
    total = 0.0
    for k in range(min(over, samples) + 1):
        ways = math.lgamma(samples + 1) - math.lgamma(k + 1) - math.lgamma(samples - k + 1)
        total += math.exp(ways + k * log_above + (samples - k) * log_below)
    return total


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
    low, high = 0, samples
    while high - low > 1:
        middle = (low + high) // 2
        if chance(samples, middle, percentile) > 1 - LEVEL:
            high = middle
        else:
            low = middle
    return low
