"""How long a run must be to say that a percentile is under a bound. Pure."""

import math
from typing import Final

from loadtest.analysis.confidence import minimum_samples

# Calls that may lie over the bound and still let it hold. With none allowed, a rate whose true
# share over the bound is a third of what the percentile permits would mostly be refused.
SLACK_OVER: Final = 10


class TooLong(ValueError):
    """At this rate the samples take longer than a run may last; the text says what to change."""


def samples_wanted(percentile: float) -> int:
    """Return how many answers a run should have, chance in their number included."""
    needed = minimum_samples(percentile, SLACK_OVER)
    return math.ceil(needed + 3 * math.sqrt(needed))


def seconds(rate: float, percentile: float, at_least_s: float, at_most_s: float) -> float:
    """Return how long a run at this rate must measure.

    Raises:
        TooLong: longer than `at_most_s`.
    """
    wanted = samples_wanted(percentile)
    needed_s = wanted / rate
    if needed_s > at_most_s:
        raise TooLong(
            f"p{percentile:g} at {rate:.3g} calls/s takes {wanted:,} calls, so"
            f" {needed_s:,.0f} s; {at_most_s:g} s is the most for one run:"
            f" raise --max-duration, or claim less: {_advice(rate, at_most_s)}"
        )
    return math.ceil(10 * max(needed_s, at_least_s)) / 10


def _advice(rate: float, at_most_s: float) -> str:
    for lower in (99.0, 95.0, 90.0, 50.0):
        needed_s = samples_wanted(lower) / rate
        if needed_s <= at_most_s:
            return f"--percentile {lower:g} takes {needed_s:,.0f} s"
    return f"even the median takes {samples_wanted(50) / rate:,.0f} s at this rate"
