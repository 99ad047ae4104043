"""How far the clock of another process is from ours, told from messages there and back. Pure."""

from collections.abc import Sequence
from typing import NamedTuple


class Trip(NamedTuple):
    """One message there and back, ns: ours at the send, theirs in between, ours at the return."""

    sent_ns: int
    there_ns: int
    back_ns: int


class Offset(NamedTuple):
    """What to add to our clock to have theirs, and how wrong that may be."""

    ns: int
    error_ns: int


def offset(trips: Sequence[Trip]) -> Offset:
    """Return what the quickest trip says: their clock was read somewhere inside it.

    The middle of the trip is the best guess, so half of its length bounds the error. A slower
    trip can only tell less.
    """
    best = min(trips, key=lambda trip: trip.back_ns - trip.sent_ns)
    middle_ns = (best.sent_ns + best.back_ns) // 2
    return Offset(best.there_ns - middle_ns, (best.back_ns - best.sent_ns + 1) // 2)


def spread(before: Offset, after: Offset) -> int:
    """Return the error bound over a time at whose two ends the offset was measured, ns.

    What the clocks ran apart in between counts in full.
    """
    drift_ns = abs(after.ns - before.ns)
    return max(before.error_ns, drift_ns + after.error_ns)
