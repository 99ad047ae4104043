"""Arrivals at a rate that follows straight lines: Poisson, or evenly spaced.

Pure. Both come from the cumulative rate, the number of arrivals expected until an instant. Where
a process of rate 1 has an arrival at u, this one has it when the cumulative rate reaches u; that
turns a Poisson process of rate 1 into an exact one of the rate asked for (time rescaling), and the
whole numbers into the evenest possible spacing.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Seconds = npt.NDArray[np.float64]

# Which of a seed's independent streams is used here: arrivals do not follow the texts' draws.
_STREAM = 1
_BLOCK = 65536


class Piece(NamedTuple):
    """A stretch whose rate goes in a straight line, in calls per second."""

    for_s: float
    rate: float
    to_rate: float

    @property
    def expected(self) -> float:
        """Arrivals to expect."""
        return self.for_s * (self.rate + self.to_rate) / 2


def poisson(pieces: Sequence[Piece], seed: int) -> Seconds:
    """Return the sorted instants of a Poisson process, in seconds since the first piece's start.

    Gaps are independent and, rescaled, exponential; the number of arrivals is random too.
    """
    return rescaled(_unit(sum(piece.expected for piece in pieces), seed), pieces)


def constant(pieces: Sequence[Piece], seed: int = 0) -> Seconds:  # noqa: ARG001  (drawn by none)
    """Return instants at which the cumulative rate is a whole number, the first at 0."""
    expected = sum(piece.expected for piece in pieces)
    # Rounded: ten times 0.1 must end before an eleventh arrival.
    return rescaled(np.arange(math.ceil(round(expected, 9)), dtype=np.float64), pieces)


def rescaled(units: Seconds, pieces: Sequence[Piece]) -> Seconds:
    """Return when the cumulative rate of the pieces reaches each of the sorted values."""
    reached = np.cumsum([0.0, *(piece.expected for piece in pieces)])
    begins_s = np.cumsum([0.0, *(piece.for_s for piece in pieces)])
    # The piece of each value; the last one also holds its own end.
    where = np.clip(np.searchsorted(reached, units, side="right") - 1, 0, max(len(pieces) - 1, 0))
    parts = []
    for number, piece in enumerate(pieces):
        inside = units[where == number] - reached[number]
        parts.append(begins_s[number] + _until(inside, piece))
    return np.concatenate([np.zeros(0), *parts])


def _until(inside: Seconds, piece: Piece) -> Seconds:
    """Return the root x of `rate * x + slope * x**2 / 2 = inside`.

    In the form that divides by a sum, which stays exact when the slope is 0 or nearly so.
    """
    slope = (piece.to_rate - piece.rate) / piece.for_s
    rate_then = np.sqrt(np.maximum(piece.rate**2 + 2 * slope * inside, 0.0))
    return np.minimum(2 * inside / (piece.rate + rate_then), piece.for_s)


def _unit(end: float, seed: int) -> Seconds:
    """Return the arrivals of a Poisson process of rate 1 before `end`.

    From the generator's raw bits by the inverse of the distribution: numpy keeps the bits of
    PCG64 for ever, not what its distributions make of them, and workers on other machines must
    draw the same.
    """
    bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(_STREAM,)))
    blocks, reached = [np.zeros(0)], 0.0
    while reached < end:
        # Blocks of one size: a longer schedule begins as a shorter one does, to the last bit.
        uniform = (bits.random_raw(_BLOCK) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        blocks.append(reached + np.cumsum(-np.log1p(-uniform)))
        reached = float(blocks[-1][-1])
    units = np.concatenate(blocks)
    return units[units < end]
