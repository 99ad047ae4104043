"""The batches that parity is checked on: padded on either side, packed, and alone.

Pure and seeded: limits of a model in, arrays out. Row counts and lengths differ from those of the
trace. Ids are drawn from the whole vocabulary except the padding id, which some families read as
the end of a sequence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

_SEED = 20
_PADDED_LENGTHS = {1: (23,), 2: (9, 31), 5: (4, 40, 1, 17, 26)}
_PACKED_LENGTHS: dict[int, tuple[tuple[int, ...], ...]] = {
    1: ((7, 12, 1, 19),),
    2: ((13, 5), (3, 8, 2, 11)),
    5: ((30,), (6, 6, 6), (1, 1), (14, 2, 9), (4, 21)),
}
"""Rows -> lengths of the sequences in each row."""


@dataclass(frozen=True, slots=True)
class Text:
    """What the graph needs to know of a model to be fed."""

    vocabulary: int
    pad_id: int
    position_offset: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One run of the graph, and the sequences it holds in the order of the answer."""

    case: str
    input_ids: Ids
    segment_ids: Ids
    position_ids: Ids
    sequences: tuple[Ids, ...]

    @property
    def feeds(self) -> dict[str, NDArray[np.generic]]:
        """The inputs by name."""
        return {
            "input_ids": self.input_ids,
            "segment_ids": self.segment_ids,
            "position_ids": self.position_ids,
        }


def batches(text: Text) -> Iterator[Batch]:
    """Yield every case, with lengths cut to what the model takes."""
    draw = np.random.default_rng(_SEED)
    for length in (1, 37):
        yield _batch(f"single, length {length}", text, draw, [(length,)], before=0, after=0)
    for rows, lengths in _PADDED_LENGTHS.items():
        alone = [(length,) for length in lengths]
        # Padding beyond the longest row, so that one row alone is padded too.
        yield _batch(f"right-padded, batch {rows}", text, draw, alone, before=0, after=3)
        yield _batch(f"left-padded, batch {rows}", text, draw, alone, before=3, after=0)
    for rows, packed in _PACKED_LENGTHS.items():
        yield _batch(f"packed, batch {rows}", text, draw, packed, before=0, after=2)


def _batch(
    case: str,
    text: Text,
    draw: np.random.Generator,
    rows: Sequence[Sequence[int]],
    *,
    before: int,
    after: int,
) -> Batch:
    """Lay out one batch; rows end together when `before` is set and begin together otherwise."""
    rows = [[min(length, text.max_tokens) for length in row] for row in rows]
    longest = max(sum(row) for row in rows)
    shape = (len(rows), before + longest + after)
    input_ids = np.full(shape, text.pad_id, np.int64)
    segment_ids = np.zeros(shape, np.int64)
    position_ids = np.full(shape, text.position_offset, np.int64)
    sequences = []
    for row, lengths in enumerate(rows):
        start = before + (longest - sum(lengths) if before else 0)
        for segment, length in enumerate(lengths, start=1):
            sequence = _draw_ids(draw, text, length)
            place = slice(start, start + length)
            input_ids[row, place] = sequence
            segment_ids[row, place] = segment
            position_ids[row, place] = text.position_offset + np.arange(length)
            sequences.append(sequence)
            start += length
    return Batch(case, input_ids, segment_ids, position_ids, tuple(sequences))


def _draw_ids(draw: np.random.Generator, text: Text, length: int) -> Ids:
    ids = draw.integers(0, text.vocabulary - 1, length, dtype=np.int64)
    return np.where(ids >= text.pad_id, ids + 1, ids)
