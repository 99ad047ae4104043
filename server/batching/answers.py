"""Answers that are kept in case their units come again: least recently used out first.

Single owner, no clock. Every byte counts: the arrays, and what Python needs to hold them.
"""

from collections import OrderedDict

import numpy as np

from server.batching.layout import Answer, Array

ENTRY_BYTES = 208
"""Of one key, its place in the order and the tuple, as CPython allocates them at the worst fill."""
ARRAY_BYTES = 144
"""Of one array beside its values."""


class Answers:
    """A bounded map from keys to answers."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[bytes, Answer] = OrderedDict()
        self.num_bytes = 0
        """Of everything kept, never above the limit."""

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes) -> Answer | None:
        """Return the answer under a key, which counts as use."""
        answer = self._kept.get(key)
        if answer is not None:
            self._kept.move_to_end(key)
        return answer

    def put(self, key: bytes, answer: Answer) -> Answer:
        """Keep a copy and return it; one larger than the whole is returned as it is.

        Either way nobody can write to what is returned: several callers may hold it. A copy,
        because an answer is a view of its whole batch, and would keep all of that alive.
        """
        size = size_bytes(answer)
        if size > self._max_bytes:
            return tuple(_sealed(np.asarray(part).view()) for part in answer)
        copy = tuple(_sealed(np.array(part)) for part in answer)
        before = self._kept.pop(key, None)
        if before is not None:
            self.num_bytes -= size_bytes(before)
        self._kept[key] = copy
        self.num_bytes += size
        while self.num_bytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.num_bytes -= size_bytes(oldest)
        return copy


def size_bytes(answer: Answer) -> int:
    """Return what it takes to keep an answer."""
    return ENTRY_BYTES + sum(ARRAY_BYTES + part.nbytes for part in answer)


def _sealed(array: Array) -> Array:
    array.setflags(write=False)
    return array
