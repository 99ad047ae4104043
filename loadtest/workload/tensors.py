"""Requests of ModelInfer for any server: inputs made up from what the model says of them.

A free first dimension is the rows of the call, every other free one the longest of their lengths;
the masks say how long each row is, so that the tensors of one call fit together.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from loadtest.errors import RunFailed
from loadtest.scenario.requests import Tensor
from loadtest.workload import values
from loadtest.workload.asking import Model
from loadtest.workload.payload import Promise
from loadtest.workload.texts import Draws
from protos import inference_pb2 as pb

FREE: Final = -1
MAX_TENSOR_BYTES: Final = 64 << 20
"""Of one input. No server takes more in a message unless told to."""

_TYPES: Final = (0.0, 2.0)
_IDS: Final = (0.0, 100.0)
_REALS: Final = (0.0, 1.0)
_DEFAULTS: Final = Tensor()
_COUNTED_IN_ROWS: Final = frozenset({"sequence", "token", "row"})


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a model, and how it is filled."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    bounds: tuple[float, float] | None
    """Asked for; None lets the name and the type decide."""

    @property
    def has_free_rows(self) -> bool:
        """The call decides how many rows it has."""
        return self.shape[:1] == (FREE,)

    def extents(self, lengths: Sequence[int]) -> tuple[int, ...]:
        """Return the shape in a call of rows of such lengths.

        Raises:
            RunFailed: it would be too large to send.
        """
        longest = max(lengths)
        shape = tuple(longest if extent == FREE else extent for extent in self.shape)
        if self.has_free_rows:
            shape = (len(lengths), *shape[1:])
        if math.prod(shape) * values.ITEM_BYTES.get(self.datatype, 4) > MAX_TENSOR_BYTES:
            raise RunFailed(
                f"input {self.name} would be {list(shape)}, over {MAX_TENSOR_BYTES} bytes; give"
                f" requests.tensors.{self.name}.shape, shorter lengths or fewer texts_per_call"
            )
        return shape

    def fill(self, lengths: Sequence[int], draws: Draws) -> tuple[tuple[int, ...], bytes]:
        """Return the shape and the raw values for rows of such lengths."""
        shape = self.extents(lengths)
        if self.datatype == "BYTES":
            return shape, values.raw_bytes(self._strings(shape, lengths, draws))
        return shape, values.raw(self._numbers(shape, lengths, draws), self.datatype)

    def _strings(self, shape: tuple[int, ...], lengths: Sequence[int], draws: Draws) -> list[bytes]:
        """One string a row is a text of its length; more are words."""
        count = math.prod(shape)
        if count == len(lengths):
            return [draws.text(tokens).encode() for tokens in lengths]
        return draws.text(count + 2).encode().split(b" ")[:count]

    def _numbers(
        self, shape: tuple[int, ...], lengths: Sequence[int], draws: Draws
    ) -> npt.NDArray[Any]:
        name = self.name.lower()
        if self.bounds is None:
            if name.endswith(("mask", "segment_ids")):
                return self._where_tokens_are(shape, lengths)
            if "position" in name and shape:
                return np.broadcast_to(np.arange(shape[-1]), shape)
        low, high = self.bounds or self.usual()
        return values.uniform(self.datatype, shape, low, high, draws.others)

    def _where_tokens_are(
        self, shape: tuple[int, ...], lengths: Sequence[int]
    ) -> npt.NDArray[np.int64]:
        """Return 1 in the columns of each row that its length covers, 0 in the padding behind."""
        ones = np.ones(shape, np.int64)
        if len(shape) < 2 or not self.has_free_rows or self.shape[-1] != FREE:  # noqa: PLR2004  (rows and columns)
            return ones
        covered = np.arange(shape[-1]) < np.array(lengths)[:, np.newaxis]
        return ones * covered.reshape(shape[0], *(1,) * (len(shape) - 2), shape[-1])

    def usual(self) -> tuple[float, float]:
        """Return the bounds where none are asked for."""
        if self.datatype == "BOOL" or self.name.lower().endswith("type_ids"):
            return _TYPES
        return _REALS if self.datatype in {"FP16", "BF16", "FP32", "FP64"} else _IDS


class Inputs:
    """Every input of a model, as one kind of request fills it."""

    def __init__(self, model: Model, tensors: Mapping[str, Tensor]) -> None:
        """Match what was asked for with what the model has.

        Raises:
            RunFailed: the model has no such input, or takes nothing that could be made up.
        """
        self._model = model
        described = model.metadata.inputs
        names = [tensor.name for tensor in described]
        if not names:
            raise RunFailed(
                f"{model.name}: the server's ModelMetadata names no inputs, so none can be made up;"
                " describe them in the server's settings of the model"
            )
        for name in tensors:
            if name not in names:
                raise RunFailed(
                    f"requests.tensors.{name}: {model.name} has no such input;"
                    f" it has {', '.join(names)}"
                )
        self._inputs = [_input(tensor, tensors.get(tensor.name, _DEFAULTS)) for tensor in described]
        self._has_free_rows = any(one.has_free_rows for one in self._inputs)
        # Asked now: the questions are over when the bodies are built.
        self._counts = model.counts

    def message(self, lengths: Sequence[int], draws: Draws) -> bytes:
        """Return a request with a row of each length.

        Raises:
            RunFailed: the model takes no such number of rows, or a tensor would be too large.
        """
        if len(lengths) > 1 and not self._has_free_rows:
            raise RunFailed(
                f"{self._model.name} has no input with a free first dimension, so"
                f" {len(lengths)} rows fit in no call; set texts_per_call to 1"
            )
        request = pb.ModelInferRequest(model_name=self._model.name)
        for one in self._inputs:
            shape, raw = one.fill(lengths, draws)
            request.inputs.add(name=one.name, datatype=one.datatype, shape=shape)
            request.raw_input_contents.append(raw)
        return request.SerializeToString()

    def rows(self, lengths: Sequence[int]) -> int:
        """Return how many rows such a request has."""
        if self._has_free_rows:
            return len(lengths)
        first = self._inputs[0].shape
        return first[0] if first else 1

    def promises(self, lengths: Sequence[int]) -> tuple[Promise, ...]:
        """Return what the answer to such a request must have."""
        first = {one.extents(lengths)[:1] for one in self._inputs}
        # Inputs of different first dimensions are no rows, and nobody knows the answer's.
        rows = self.rows(lengths) if len(first) == 1 else FREE
        return tuple(
            Promise(tensor.name, self._first(tensor, rows), bool(self._counts))
            for tensor in self._model.metadata.outputs
        )

    def _first(self, tensor: pb.ModelMetadataResponse.TensorMetadata, rows: int) -> int:
        is_free = bool(tensor.shape) and tensor.shape[0] < 0
        in_rows = self._counts.get(tensor.name, "row") in _COUNTED_IN_ROWS
        return rows if is_free and in_rows else FREE


def _input(tensor: pb.ModelMetadataResponse.TensorMetadata, asked: Tensor) -> Input:
    where = f"requests.tensors.{tensor.name}"
    if tensor.datatype not in values.DATATYPES:
        raise RunFailed(
            f"input {tensor.name} is {tensor.datatype or 'of no datatype'}, which is none of"
            f" {', '.join(values.DATATYPES)}; correct the server's settings of the model"
        )
    # Some servers have a number of their own for a free dimension; all are below 0.
    shape = tensor.shape if asked.shape is None else asked.shape
    plain = Input(tensor.name, tensor.datatype, tuple(max(FREE, extent) for extent in shape), None)
    if asked.low is None and asked.high is None:
        return plain
    if tensor.datatype == "BYTES":
        raise RunFailed(f"{where}: BYTES have no low and high; leave them out")
    usual_low, usual_high = plain.usual()
    bounds = (
        usual_low if asked.low is None else asked.low,
        usual_high if asked.high is None else asked.high,
    )
    try:
        values.check_bounds(tensor.datatype, *bounds)
    except RunFailed as error:
        raise RunFailed(f"{where}: {error}") from error
    return Input(plain.name, plain.datatype, plain.shape, bounds)
