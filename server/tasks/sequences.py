"""Packed rows of tokens to the sequences in them, and their answers back to those rows.

Rows are taken apart, so a row that arrives padded costs its tokens only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from server.batching.layout import Array
from server.batching.packing import Ids, TokenSequence, places, unpack
from server.errors import InvalidRequest, TooLong
from server.repository.contract import NUM_TOKEN_TYPES, require_text
from server.repository.manifest import Limits, Manifest
from server.tasks.infer import Inputs, require_within


@dataclass(frozen=True, slots=True)
class ReceivedSequences:
    """The rows of one call and the sequences in them."""

    units: list[TokenSequence]
    input_ids: Ids
    segment_ids: Ids
    mask_id: int | None

    def count(self, per: str) -> int:
        """Return the number of sequences, of places in the rows, or of mask tokens."""
        match per:
            case "token":
                return self.segment_ids.size
            case "mask":
                return int(np.count_nonzero(self._is_mask()))
            case _:
                return len(self.units)

    def assemble(self, per: str, parts: Sequence[Array]) -> Array:
        """Stack answers of sequences, lay tokens back into the rows, or line up mask tokens."""
        match per:
            case "token":
                return self._lay_back(parts)
            case "mask":
                return np.concatenate(parts)[self._reading_order()]
            case _:
                return np.stack(parts)

    def _lay_back(self, parts: Sequence[Array]) -> Array:
        """Return (rows, length, ...) with zeros at padding."""
        whole = np.zeros((*self.segment_ids.shape, *parts[0].shape[1:]), parts[0].dtype)
        for (row, columns), part in zip(places(self.segment_ids), parts, strict=True):
            whole[row][columns] = part
        return whole

    def _reading_order(self) -> Ids:
        """Return the order of mask tokens by row and column; segments may alternate in a row."""
        is_mask, length = self._is_mask(), self.segment_ids.shape[1]
        flat = [
            row * length + np.flatnonzero(columns & is_mask[row])
            for row, columns in places(self.segment_ids)
        ]
        return np.argsort(np.concatenate(flat), kind="stable")

    def _is_mask(self) -> NDArray[np.bool_]:
        is_mask: NDArray[np.bool_] = self.input_ids == self.mask_id
        return is_mask & (self.segment_ids > 0)


class SequenceReader:
    """Checks the rows of a call to a text model."""

    def __init__(self, manifest: Manifest, max_rows: int) -> None:
        text, self._limits = require_text(manifest)
        self._mask_id = text.mask_id
        self._max_rows = max_rows

    def __call__(self, inputs: Inputs) -> ReceivedSequences:
        """Take rows apart.

        Raises:
            InvalidRequest, TooLong: the first thing that no batch could run.
        """
        arrays = {name: cast("Ids", array) for name, array in inputs.items()}
        shape = arrays["input_ids"].shape
        for name, array in arrays.items():
            if array.shape != shape:
                raise InvalidRequest(
                    f"input '{name}' has shape {list(array.shape)}, input_ids has {list(shape)}; "
                    "all inputs must have the same rows and length"
                )
        if not 1 <= shape[0] <= self._max_rows or not shape[1]:
            raise InvalidRequest(
                f"shape {list(shape)}: send 1 to {self._max_rows} rows of at least one token"
            )
        _check_ids(arrays, self._limits)
        units = unpack(**arrays)
        longest = max(len(sequence) for sequence in units)
        if longest > self._limits.max_tokens:
            raise TooLong(
                f"a sequence has {longest} tokens, the model takes at most "
                f"{self._limits.max_tokens}; shorten it"
            )
        return ReceivedSequences(units, arrays["input_ids"], arrays["segment_ids"], self._mask_id)


def _check_ids(arrays: dict[str, Ids], limits: Limits) -> None:
    segment_ids = arrays["segment_ids"]
    bounds = {
        "input_ids": limits.vocabulary,
        "segment_ids": segment_ids.shape[1] + 1,
        "position_ids": limits.max_position,
        "token_type_ids": NUM_TOKEN_TYPES,
    }
    for name, array in arrays.items():
        require_within(name, array, bounds[name])
    empty = np.flatnonzero(~(segment_ids > 0).any(axis=1))
    if empty.size:
        raise InvalidRequest(
            f"row {empty[0]} of segment_ids is all 0, which is padding; leave the row out"
        )
