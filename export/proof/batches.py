"""The batches that parity is checked on: padded on either side, packed, and alone.

Pure and seeded: limits of a model in, arrays out. Row counts and lengths differ from those of the
trace, and one sequence is longer than a local window or a table of relative positions reaches. Ids
are drawn from the whole vocabulary except the padding id, which some families read as the end of a
sequence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Place = tuple[int, slice]
"""Row and columns of a sequence."""

_SEED = 20
_PADDED_LENGTHS = {1: (23,), 2: (9, 31), 5: (4, 40, 1, 17, 26)}
_PACKED_LENGTHS: dict[int, tuple[tuple[int, ...], ...]] = {
    1: ((7, 12, 1, 19),),
    2: ((13, 5), (3, 8, 2, 11)),
    5: ((30,), (6, 6, 6), (1, 1), (14, 2, 9), (4, 21)),
}
"""Rows -> lengths of the sequences in each row."""

LENGTH = 23
"""Of an input whose length is free and does not matter."""

_LONG = 300
_BEYOND_WINDOW = 37
_LARGEST_WINDOW = 1024
"""Windows beyond this are not exceeded: a proof should not take minutes."""


@dataclass(frozen=True, slots=True)
class Text:
    """What the graph needs to know of a model to be fed."""

    vocabulary: int
    pad_id: int
    position_offset: int
    max_tokens: int
    has_types: bool = False
    mask_id: int | None = None


@dataclass(frozen=True, slots=True)
class TokenIds:
    """One sequence, each array of shape (length,)."""

    ids: Ids
    types: Ids | None


@dataclass(frozen=True, slots=True)
class Batch:
    """One run of the graph, and the sequences it holds in the order of the answer."""

    case: str
    input_ids: Ids
    segment_ids: Ids
    position_ids: Ids
    token_type_ids: Ids | None
    sequences: tuple[TokenIds, ...]
    places: tuple[Place, ...]

    @property
    def feeds(self) -> dict[str, NDArray[np.generic]]:
        """The inputs by name."""
        feeds: dict[str, NDArray[np.generic]] = {
            "input_ids": self.input_ids,
            "segment_ids": self.segment_ids,
            "position_ids": self.position_ids,
        }
        if self.token_type_ids is not None:
            feeds["token_type_ids"] = self.token_type_ids
        return feeds


def batches(text: Text, window: int = 0) -> Iterator[Batch]:
    """Yield every case, with lengths cut to what the model takes."""
    draw = np.random.default_rng(_SEED)
    long = window + _BEYOND_WINDOW if _LONG < window <= _LARGEST_WINDOW else _LONG
    for length in (1, 37, long):
        yield _batch(f"single, length {length}", text, draw, [(length,)], before=0, after=0)
    for rows, lengths in _PADDED_LENGTHS.items():
        alone = [(length,) for length in lengths]
        # Padding beyond the longest row, so that one row alone is padded too.
        yield _batch(f"right-padded, batch {rows}", text, draw, alone, before=0, after=3)
        yield _batch(f"left-padded, batch {rows}", text, draw, alone, before=3, after=0)
    for rows, packed in _PACKED_LENGTHS.items():
        yield _batch(f"packed, batch {rows}", text, draw, packed, before=0, after=2)


def whole_rows(text: Text, rows: int, length: int) -> Batch:
    """Return rows of one sequence each, without padding."""
    draw = np.random.default_rng(_SEED)
    return _batch("whole rows", text, draw, [(length,)] * rows, before=0, after=0)


def alone(text: Text, sequence: TokenIds) -> Batch:
    """Return one sequence in a row of its own."""
    length = len(sequence.ids)
    positions = text.position_offset + np.arange(length, dtype=np.int64)
    types = None if sequence.types is None else sequence.types[None]
    ones = np.ones((1, length), np.int64)
    place = (0, slice(0, length))
    return Batch("text", sequence.ids[None], ones, positions[None], types, (sequence,), (place,))


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
    types = np.zeros(shape, np.int64) if text.has_types else None
    sequences, places = [], []
    for row, lengths in enumerate(rows):
        start = before + (longest - sum(lengths) if before else 0)
        for segment, length in enumerate(lengths, start=1):
            sequence = _draw(draw, text, length)
            place = (row, slice(start, start + length))
            input_ids[place] = sequence.ids
            segment_ids[place] = segment
            position_ids[place] = text.position_offset + np.arange(length)
            if types is not None and sequence.types is not None:
                types[place] = sequence.types
            sequences.append(sequence)
            places.append(place)
            start += length
    return Batch(case, input_ids, segment_ids, position_ids, types, tuple(sequences), tuple(places))


def _draw(draw: np.random.Generator, text: Text, length: int) -> TokenIds:
    ids = draw.integers(0, text.vocabulary - 1, length, dtype=np.int64)
    ids = np.where(ids >= text.pad_id, ids + 1, ids)
    if text.mask_id is not None:
        ids[draw.integers(length)] = text.mask_id
    if not text.has_types:
        return TokenIds(ids, None)
    # A pair: the first text is type 0, the second type 1.
    return TokenIds(ids, (np.arange(length) >= draw.integers(length + 1)).astype(np.int64))
