"""Student's t and the normal distribution, as far as intervals from few pairs need them.

Pure. Closed forms for whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4), which
spares the measuring machine a scientific library.
"""

import math
from statistics import NormalDist


def widening(level: float, freedom: int) -> float:
    """Return by how much an interval from so few degrees of freedom is wider than the normal's."""
    return quantile(level, freedom) / NormalDist().inv_cdf((1 + level) / 2)


def quantile(level: float, freedom: int) -> float:
    """Return t such that a value lies within -t to t with that probability."""
    if freedom < 1:
        raise ValueError(f"{freedom} degrees of freedom")
    low, high = 0.0, 1.0
    while within(high, freedom) < level:
        high *= 2
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        if within(middle, freedom) < level:
            low = middle
        else:
            high = middle
    return high


def within(t: float, freedom: int) -> float:
    """Return the probability that a value lies within -t to t."""
    angle = math.atan(t / math.sqrt(freedom))
    is_odd = freedom % 2 == 1
    term = math.cos(angle) if is_odd else 1.0
    total = 0.0
    for k in range(1 if is_odd else 0, freedom - 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (k + 1) / (k + 2)
    if is_odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total
