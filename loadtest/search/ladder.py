"""Which load a sweep runs next when it was not told. Pure: what was seen in, a level out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from loadtest.search.knee import GROWTH

MOST_IN_FLIGHT: Final = 1024
# Doublings without growth that show a plateau.
_FLAT: Final = 2
_MOST_DOUBLINGS: Final = 12
# Rates between the last that the server kept up with and the first that it did not.
_BETWEEN: Final = 3


@dataclass(frozen=True)
class Seen:
    """One level and what came of it."""

    level: float
    throughput: float
    # The run was VALID; of a rate this says that the server kept up.
    is_valid: bool


def next_in_flight(seen: Sequence[Seen]) -> int | None:
    """Return how many calls to keep in flight next: doubling until throughput is flat."""
    if not seen:
        return 1
    best, flat = 0.0, 0
    for each in seen:
        if each.throughput > best * (1 + GROWTH):
            best, flat = each.throughput, 0
        else:
            flat += 1
    level = int(seen[-1].level) * 2
    is_over = flat >= _FLAT or not seen[-1].is_valid or level > MOST_IN_FLIGHT
    return None if is_over else level


def next_rate(seen: Sequence[Seen], start: float) -> float | None:
    """Return the rate to try next: doubling until the server falls behind, then between."""
    if not seen:
        return start
    kept = [each.level for each in seen if each.is_valid]
    lost = [each.level for each in seen if not each.is_valid]
    if not lost:
        return max(kept) * 2 if len(kept) <= _MOST_DOUBLINGS else None
    first_lost = lost[0]
    doubled = [level for level in kept if level <= first_lost / 2 * 1.001]
    if not doubled:
        return None
    last = max(doubled)
    step = (first_lost / last) ** (1 / (_BETWEEN + 1))
    done = len(seen) - len(doubled) - 1
    return last * step ** (done + 1) if done < _BETWEEN else None
