"""Tensors of whole rows to the rows in them, and their answers back to tensors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from server.batching.layout import Array
from server.batching.row_layout import Row
from server.errors import InvalidRequest
from server.repository.manifest import Manifest
from server.tasks.infer import Inputs, require_within


@dataclass(frozen=True, slots=True)
class ReceivedRows:
    """The rows of one call."""

    units: list[Row]

    def count(self, per: str) -> int:
        """Return the number of rows; such models count nothing else."""
        del per
        return len(self.units)

    def assemble(self, per: str, parts: Sequence[Array]) -> Array:
        """Put rows behind each other.

        Raises:
            InvalidRequest: rows of equal inputs have answers of different shapes.
        """
        del per
        if len({part.shape for part in parts}) > 1:
            raise InvalidRequest(
                "the answers to the rows have different shapes, which one tensor cannot hold; "
                "send each row in a call of its own"
            )
        return np.concatenate(parts)


class RowReader:
    """Checks the tensors of a call to a model of whole rows."""

    def __init__(self, manifest: Manifest, max_rows: int) -> None:
        # A text tower takes ids and has limits; images and sound have neither.
        self._vocabulary = manifest.limits.vocabulary if manifest.limits else None
        self._max_rows = max_rows

    def __call__(self, inputs: Inputs) -> ReceivedRows:
        """Take tensors apart.

        Raises:
            InvalidRequest: the first thing that no run could take.
        """
        first, shape = next((name, array.shape) for name, array in inputs.items())
        for name, array in inputs.items():
            if len(array) != shape[0]:
                raise InvalidRequest(
                    f"input '{name}' has {len(array)} rows, input '{first}' has {shape[0]}; "
                    "all inputs must have the same number"
                )
            if not 1 <= len(array) <= self._max_rows or not array.size:
                raise InvalidRequest(
                    f"input '{name}' has shape {list(array.shape)}; send 1 to {self._max_rows} "
                    "rows, none of them empty"
                )
        if self._vocabulary is not None and "input_ids" in inputs:
            require_within("input_ids", inputs["input_ids"], self._vocabulary)
        shapes = tuple(array.shape[1:] for array in inputs.values())
        return ReceivedRows(
            [
                Row(tuple(array[row : row + 1] for array in inputs.values()), shapes)
                for row in range(shape[0])
            ]
        )
