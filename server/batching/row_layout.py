"""Whole rows of any tensors: the layout of models without segments, such as vision and speech.

Rows of one run have equal shapes, so they lie behind each other on the first axis without padding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from server.batching.layout import Answer, Array
from server.batching.plan import Plan


@dataclass(frozen=True, slots=True)
class Row:
    """One row of every input, in the order of the manifest, each of shape (1, ...)."""

    arrays: tuple[Array, ...]
    shapes: tuple[tuple[int, ...], ...]
    """Of one row of each input; rows with equal ones may share a run."""

    def __len__(self) -> int:
        return 1


class RowLayout:
    """Puts rows of equal shapes together, the oldest of those first."""

    def __init__(self, input_names: Sequence[str], output_names: Sequence[str]) -> None:
        self.output_names = tuple(output_names)
        self._input_names = tuple(input_names)

    def plan(self, units: Sequence[Row], budget: int) -> Plan:
        """Take up to `budget` rows of the head's shapes, and leave out the others between them.

        Each row is the head in its turn, so no shape is overtaken for ever.
        """
        shapes = units[0].shapes
        alike = (index for index, row in enumerate(units) if row.shapes == shapes)
        return Plan(rows=tuple((index,) for index in islice(alike, budget)), width=1)

    def pack(self, units: Sequence[Row], plan: Plan) -> dict[str, Array]:
        """Return each input with as many rows as units; a single row is not copied."""
        del plan  # rows stand in the order of the units
        if len(units) == 1:
            return dict(zip(self._input_names, units[0].arrays, strict=True))
        columns = zip(*(row.arrays for row in units), strict=True)
        return {
            name: np.concatenate(column)
            for name, column in zip(self._input_names, columns, strict=True)
        }

    def scatter(self, arrays: Sequence[Array], units: Sequence[Row], plan: Plan) -> list[Answer]:
        """Give every row its row of each output, of shape (1, ...)."""
        del plan
        for name, array in zip(self.output_names, arrays, strict=True):
            if array.shape[:1] != (len(units),):
                raise ValueError(f"output '{name}' has shape {array.shape} for {len(units)} rows")
        return [
            tuple(array[index : index + 1] for array in arrays) for index, _ in enumerate(units)
        ]
