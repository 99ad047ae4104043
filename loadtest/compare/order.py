"""In which order the runs of a comparison go. Pure.

A B B A A B B A ...: every run stands beside one of the other side, which finds the machine as it
found it, and each side is first as often as second, so that a steady drift favours neither.
"""

from dataclasses import dataclass
from typing import Final

from loadtest.compare.bootstrap import Side
from loadtest.errors import RunFailed

# From 8 pairs on one can be set aside at either end (see `bootstrap`), and fewer pairs than that
# are dear. Half of a 99 % interval, in standard deviations between pairs: 3.8 for 4 pairs, 1.7
# for 6, 1.4 for 8, 1.0 for 12.
PAIRS: Final = 8
FEWEST_PAIRS: Final = 4


@dataclass(frozen=True)
class Turn:
    """One run. Both of a pair have the same seed, so the same texts and arrivals."""

    pair: int
    side: Side
    seed: int


def turns(pairs: int, seed: int) -> list[Turn]:
    """Return the runs in their order.

    Raises:
        RunFailed: so many pairs cannot be balanced, or are too few for any interval.
    """
    if pairs < FEWEST_PAIRS or pairs % 2:
        raise RunFailed(
            f"--pairs {pairs} cannot be run in the order ABBA: give an even number,"
            f" {FEWEST_PAIRS} or more"
        )
    orders: tuple[tuple[Side, Side], ...] = (("A", "B"), ("B", "A"))
    return [Turn(pair, side, seed + pair) for pair in range(pairs) for side in orders[pair % 2]]
