"""Lay sequences out in the rows of one run, and find them again in its answer.

Pure NumPy. The graph answers one vector per segment, row by row and in the order of segment ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.batching.plan import Plan

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """The token ids of one independent sequence and their positions, both of shape (length,)."""

    input_ids: Ids
    position_ids: Ids

    def __len__(self) -> int:
        return len(self.input_ids)


def pack(sequences: Sequence[TokenSequence], plan: Plan, pad_id: int) -> dict[str, Ids]:
    """Return the graph's inputs, each of shape (rows, width).

    Padding has segment 0, so no sequence attends to it; its ids only need to be valid.
    """
    shape = (len(plan.rows), plan.width)
    input_ids = np.full(shape, pad_id, np.int64)
    segment_ids = np.zeros(shape, np.int64)
    position_ids = np.zeros(shape, np.int64)
    for row, indices in enumerate(plan.rows):
        start = 0
        for segment, index in enumerate(indices, start=1):
            sequence = sequences[index]
            end = start + len(sequence)
            input_ids[row, start:end] = sequence.input_ids
            segment_ids[row, start:end] = segment
            position_ids[row, start:end] = sequence.position_ids
            start = end
    return {"input_ids": input_ids, "segment_ids": segment_ids, "position_ids": position_ids}


def answer_order(plan: Plan) -> list[int]:
    """Return which sequence each vector of the answer belongs to."""
    return [index for row in plan.rows for index in row]


def unpack(input_ids: Ids, segment_ids: Ids, position_ids: Ids) -> list[TokenSequence]:
    """Split rows that a caller packed into their sequences, in the order the graph answers them."""
    sequences = []
    for ids, segments, positions in zip(input_ids, segment_ids, position_ids, strict=True):
        for segment in np.unique(segments[segments > 0]):
            chosen = segments == segment
            sequences.append(TokenSequence(ids[chosen], positions[chosen]))
    return sequences
