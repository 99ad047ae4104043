"""Raw tensors to raw tensors: the Open Inference Protocol's task.

Rows are taken apart into their sequences and batched with everybody else's, so a row that arrives
padded costs its tokens only. Every id is checked here, before any batch.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from server import request as requests
from server.batching.batcher import Batcher
from server.batching.packing import Ids, TokenSequence, unpack
from server.batching.statistics import counted
from server.errors import InvalidRequest, TooLong
from server.metrics import ModelMetrics
from server.repository.manifest import Limits, Manifest
from server.tasks.embed import record_timings
from server.tensor import Tensor

RANK = 2


class Infer:
    """The tensor task of one loaded model."""

    def __init__(
        self, manifest: Manifest, batcher: Batcher, metrics: ModelMetrics, max_rows: int
    ) -> None:
        self._manifest = manifest
        self._batcher = batcher
        self._metrics = metrics
        self._max_rows = max_rows

    async def run(self, inputs: Sequence[Tensor], outputs: Sequence[str]) -> list[Tensor]:
        """Return the outputs asked for, by default all: one vector per segment.

        Raises:
            InvalidRequest: names the tensor, what is wrong with it and what is expected.
            QueueFull, DeadlineExpired, RunFailed: as `Batcher.submit`.
        """
        with counted(self._batcher.statistics):
            known = [spec.name for spec in self._manifest.outputs]
            for name in outputs:
                if name not in known:
                    raise InvalidRequest(f"output '{name}' is unknown; use {', '.join(known)}")
            sequences = check(inputs, self._manifest, self._max_rows)
            for sequence in sequences:
                self._metrics.request_tokens.observe(len(sequence))
            request = requests.current.get()
            request.require_time_left()
            waited = await self._batcher.submit(sequences, request.deadline)
            record_timings(request.timings, waited)
            spec = self._manifest.outputs[0]
            return [Tensor(spec.name, spec.datatype, np.stack(waited.vectors()))]


def check(inputs: Sequence[Tensor], manifest: Manifest, max_rows: int) -> list[TokenSequence]:
    """Return the sequences of a request in the order the graph would answer them.

    Raises:
        InvalidRequest, TooLong: the first thing that no batch could run.
    """
    arrays = _by_name(inputs, manifest)
    shape = arrays["input_ids"].shape
    for name, array in arrays.items():
        if array.shape != shape:
            raise InvalidRequest(
                f"input '{name}' has shape {list(array.shape)}, input_ids has {list(shape)}; "
                "all inputs must have the same rows and length"
            )
    if not 1 <= shape[0] <= max_rows or not shape[1]:
        raise InvalidRequest(
            f"shape {list(shape)}: send 1 to {max_rows} rows of at least one token"
        )
    _check_ids(arrays, manifest.limits)
    sequences = unpack(arrays["input_ids"], arrays["segment_ids"], arrays["position_ids"])
    longest = max(len(sequence) for sequence in sequences)
    if longest > manifest.limits.max_tokens:
        raise TooLong(
            f"a sequence has {longest} tokens, the model takes at most "
            f"{manifest.limits.max_tokens}; shorten it"
        )
    return sequences


def _by_name(inputs: Sequence[Tensor], manifest: Manifest) -> Mapping[str, Ids]:
    given: dict[str, NDArray[np.generic]] = {}
    specs = {spec.name: spec for spec in manifest.inputs}
    for tensor in inputs:
        spec = specs.get(tensor.name)
        if spec is None:
            raise InvalidRequest(
                f"input '{tensor.name}' is unknown; the model takes {', '.join(specs)}"
            )
        if tensor.name in given:
            raise InvalidRequest(f"input '{tensor.name}' is given twice")
        if tensor.datatype != spec.datatype:
            raise InvalidRequest(
                f"input '{tensor.name}' is {tensor.datatype}, the model takes {spec.datatype}"
            )
        if tensor.array.ndim != RANK:
            raise InvalidRequest(
                f"input '{tensor.name}' has shape {list(tensor.array.shape)}, "
                "expected [rows, length]"
            )
        given[tensor.name] = tensor.array
    missing = [name for name in specs if name not in given]
    if missing:
        raise InvalidRequest(f"input '{missing[0]}' is missing; the model takes {', '.join(specs)}")
    return {name: array.astype(np.int64, copy=False) for name, array in given.items()}


def _check_ids(arrays: Mapping[str, Ids], limits: Limits) -> None:
    length = arrays["input_ids"].shape[1]
    for name, high in (
        ("input_ids", limits.vocabulary),
        ("segment_ids", length + 1),
        ("position_ids", limits.max_position),
    ):
        array = arrays[name]
        wrong = (array < 0) | (array >= high)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise InvalidRequest(
                f"input '{name}' holds {array[row, column]} at [{row}, {column}]; "
                f"it must lie in 0 to {high - 1}"
            )
    empty = np.flatnonzero(~(arrays["segment_ids"] > 0).any(axis=1))
    if empty.size:
        raise InvalidRequest(
            f"row {empty[0]} of segment_ids is all 0, which is padding; leave the row out"
        )
