"""Lay sequences out in the rows of one run, and find them again in rows that a caller packed.

Pure NumPy. The graph answers sequences row by row and in the order of segment ids.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.batching.plan import Plan

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """The token ids of one independent sequence and their positions, all of shape (length,)."""

    input_ids: Ids
    position_ids: Ids
    token_type_ids: Ids | None = None
    """Which of two texts a token belongs to; None is the first throughout."""

    def __len__(self) -> int:
        return len(self.input_ids)


def pack(
    sequences: Sequence[TokenSequence], plan: Plan, pad_id: int, *, has_types: bool = False
) -> dict[str, Ids]:
    """Return the graph's inputs, each of shape (rows, width).

    Padding has segment 0, so no sequence attends to it; its ids only need to be valid.
    """
    shape = (len(plan.rows), plan.width)
    input_ids = np.full(shape, pad_id, np.int64)
    segment_ids = np.zeros(shape, np.int64)
    position_ids = np.zeros(shape, np.int64)
    feeds = {"input_ids": input_ids, "segment_ids": segment_ids, "position_ids": position_ids}
    for row, indices in enumerate(plan.rows):
        start = 0
        for segment, index in enumerate(indices, start=1):
            sequence = sequences[index]
            end = start + len(sequence)
            input_ids[row, start:end] = sequence.input_ids
            segment_ids[row, start:end] = segment
            position_ids[row, start:end] = sequence.position_ids
            start = end
    if has_types:
        feeds["token_type_ids"] = _pack_types(sequences, plan)
    return feeds


def _pack_types(sequences: Sequence[TokenSequence], plan: Plan) -> Ids:
    token_type_ids = np.zeros((len(plan.rows), plan.width), np.int64)
    for index, (row, start, end) in zip(answer_order(plan), spans(sequences, plan), strict=True):
        types = sequences[index].token_type_ids
        if types is not None:
            token_type_ids[row, start:end] = types
    return token_type_ids


def answer_order(plan: Plan) -> list[int]:
    """Return which sequence each place of the answer belongs to."""
    return [index for row in plan.rows for index in row]


def spans(sequences: Sequence[TokenSequence], plan: Plan) -> Iterator[tuple[int, int, int]]:
    """Yield row, start and end of each sequence, in the order the graph answers them."""
    for row, indices in enumerate(plan.rows):
        start = 0
        for index in indices:
            end = start + len(sequences[index])
            yield row, start, end
            start = end


def places(segment_ids: Ids) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Yield row and columns of each sequence of packed rows, in the order the graph answers."""
    for row, segments in enumerate(segment_ids):
        for segment in np.unique(segments[segments > 0]):
            yield row, segments == segment


def unpack(
    input_ids: Ids, segment_ids: Ids, position_ids: Ids, token_type_ids: Ids | None = None
) -> list[TokenSequence]:
    """Split rows that a caller packed into their sequences, in the order the graph answers them."""
    return [
        TokenSequence(
            input_ids[row][columns],
            position_ids[row][columns],
            None if token_type_ids is None else token_type_ids[row][columns],
        )
        for row, columns in places(segment_ids)
    ]
