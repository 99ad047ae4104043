"""What an interval of a ratio allows to say. Pure."""

import math
from dataclasses import dataclass
from typing import Final, Literal

from loadtest.compare.bootstrap import Interval

Decision = Literal["better", "worse", "no difference", "not enough data"]

LEVEL: Final = 0.99
# Room for the luck of the next comparison when one says how many pairs would do.
_MARGIN: Final = 0.8
_MOST_ADVISED: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How large a change must be. Shares: 0.02 is 2 %."""

    # Less than this is no verdict, however sure one is of it.
    min_effect: float = 0.02
    # "No difference" means that one larger than this is excluded.
    resolve: float = 0.05


def decide(interval: Interval, limits: Limits, *, is_more_better: bool) -> Decision:
    """Return what the ratio B over A is.

    Better or worse: the whole interval is on one side of 1, and the ratio at least `min_effect`
    from it. No difference: neither, and the whole interval is within `resolve` of 1.
    """
    excludes_one = interval.low > 1 or interval.high < 1
    if excludes_one and abs(math.log(interval.ratio)) >= math.log1p(limits.min_effect):
        return "better" if (interval.ratio > 1) == is_more_better else "worse"
    most = 1 + limits.resolve
    if 1 / most < interval.low and interval.high < most:
        return "no difference"
    return "not enough data"


def pairs_advised(interval: Interval, limits: Limits, pairs: int) -> int:
    """Return about how many pairs would decide, an even number above the present one.

    Intervals narrow with the square root of the pairs; they must either clear 1 or fit inside
    `resolve`.
    """
    half = math.log(interval.high / interval.low) / 2
    effect = abs(math.log(interval.ratio))
    room = max(effect, math.log1p(limits.resolve) - effect) * _MARGIN
    wanted = math.ceil(pairs * (half / room) ** 2 / 2) * 2
    return min(max(wanted, pairs + 2), _MOST_ADVISED)
