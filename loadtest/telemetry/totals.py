"""Counters of things that come and go, as one sum that only grows. Reads nothing itself."""

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

Number = TypeVar("Number", int, float)


class Total(Generic[Number]):
    """What every part has counted so far; a part that ended keeps what it had.

    A key stands for one life of a part: a process that began anew has another one.
    """

    def __init__(self, zero: Number) -> None:
        """`zero` says whether it counts in whole numbers."""
        self._sum: Number = zero
        self._last: Mapping[Hashable, Number] = {}

    def update(self, counted: Mapping[Hashable, Number]) -> Number:
        """Take what every part counts now, and return the sum.

        A count that went down belongs to a new part under an old key: all of it is new.
        """
        for key, count in counted.items():
            last = self._last.get(key)
            self._sum += count if last is None or count < last else count - last
        self._last = dict(counted)
        return self._sum
