"""Sequences of tokens that share rows by segment: the layout of every text model."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from server.batching.layout import Answer, Array
from server.batching.packing import TokenSequence, answer_order, pack, spans
from server.batching.plan import Plan, Planner
from server.repository.manifest import TensorSpec


class SequenceLayout:
    """Packs sequences with a planner, and cuts each output by what its first axes count."""

    def __init__(
        self,
        planner: Planner,
        outputs: Sequence[TensorSpec],
        pad_id: int,
        mask_id: int | None = None,
        *,
        has_types: bool = False,
    ) -> None:
        self.output_names = tuple(spec.name for spec in outputs)
        self._planner = planner
        self._per = tuple(spec.per for spec in outputs)
        self._is_per_sequence = set(self._per) == {"sequence"}
        self._pad_id = pad_id
        self._mask_id = mask_id
        self._has_types = has_types

    def plan(self, units: Sequence[TokenSequence], budget: int) -> Plan:
        """Plan by length; see `server.batching.plan`."""
        return self._planner([len(sequence) for sequence in units], budget)

    def pack(self, units: Sequence[TokenSequence], plan: Plan) -> Mapping[str, Array]:
        """Return token, segment and position ids, and token types where the graph takes them."""
        return pack(units, plan, self._pad_id, has_types=self._has_types)

    def scatter(
        self, arrays: Sequence[Array], units: Sequence[TokenSequence], plan: Plan
    ) -> list[Answer]:
        """Give every sequence its vector, its tokens or its mask tokens of each output."""
        columns: Sequence[Iterable[Array]] = arrays
        if not self._is_per_sequence:
            columns = [
                self._cut(per, array, units, plan)
                for per, array in zip(self._per, arrays, strict=True)
            ]
        by_index = dict(zip(answer_order(plan), zip(*columns, strict=True), strict=True))
        return [by_index[index] for index in range(len(units))]

    def _cut(
        self, per: str, array: Array, sequences: Sequence[TokenSequence], plan: Plan
    ) -> Iterable[Array]:
        """Return the part of each sequence, in the order the graph answers."""
        match per:
            case "sequence":
                return array
            case "token":
                if array.shape[:2] != (len(plan.rows), plan.width):
                    raise ValueError(f"an output per token has shape {array.shape}")
                return [array[row, start:end] for row, start, end in spans(sequences, plan)]
            case "mask":
                ordered = [sequences[index].input_ids for index in answer_order(plan)]
                ends = np.cumsum([np.count_nonzero(ids == self._mask_id) for ids in ordered])
                if len(array) != ends[-1]:
                    raise ValueError(f"{len(array)} answers for {ends[-1]} mask tokens")
                return np.split(array, ends[:-1])
            case _:
                raise ValueError(f"an output per {per} cannot be cut by sequence")
