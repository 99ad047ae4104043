"""Raw tensors to raw tensors: the Open Inference Protocol's task, for every kind of bundle.

What a call brings is taken apart into units and batched with everybody else's. Everything that a
run could stumble over is checked here, before any batch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from server import request as requests
from server.batching.layout import Answer, Array, U
from server.batching.statistics import counted
from server.batching.submitter import Submitter
from server.errors import InvalidRequest
from server.metrics import ModelMetrics
from server.repository.manifest import Manifest, TensorSpec
from server.repository.sizes import answer_values, message_bytes
from server.tasks.text_runner import record_timings
from server.tensor import DTYPES, Tensor

Inputs = Mapping[str, Array]
U_co = TypeVar("U_co", covariant=True)


class Received(Protocol[U_co]):
    """The tensors of one call, taken apart."""

    @property
    def units(self) -> Sequence[U_co]:
        """What to run, in the order the graph would answer it."""

    def count(self, per: str) -> int:
        """Return how many places an output has that counts rows, sequences, tokens or masks."""

    def assemble(self, per: str, parts: Sequence[Array]) -> Array:
        """Return an output as the graph would give it for the call alone, from each unit's part."""


@dataclass(frozen=True, slots=True)
class Output:
    """An output and what is asked about it in every call."""

    place: int
    """In the answer to a unit."""
    spec: TensorSpec
    bytes_each: int
    """Of one of what it counts."""


class Infer(Generic[U]):
    """The tensor task of one loaded model."""

    def __init__(
        self,
        manifest: Manifest,
        read: Callable[[Inputs], Received[U]],
        batcher: Submitter[U],
        metrics: ModelMetrics,
        max_rows: int,
    ) -> None:
        self._inputs = {spec.name: spec for spec in manifest.inputs}
        self._outputs = {
            spec.name: Output(place, spec, answer_values(spec) * DTYPES[spec.datatype].itemsize)
            for place, spec in enumerate(manifest.outputs)
        }
        self._max_bytes = message_bytes(manifest, max_rows)
        self._read = read
        self._batcher = batcher
        self._metrics = metrics

    async def run(self, inputs: Sequence[Tensor], outputs: Sequence[str]) -> list[Tensor]:
        """Return the outputs asked for, by default all, in the order they were asked for.

        Raises:
            InvalidRequest: names the tensor, what is wrong with it and what is expected.
            QueueFull, DeadlineExpired, RunFailed: as `Batcher.submit`.
        """
        with counted(self._batcher.statistics):
            wanted = self._wanted(outputs)
            received = self._read(by_name(inputs, self._inputs))
            self._require_room(received, wanted)
            self._metrics.observe_request(len(unit) for unit in received.units)
            request = requests.current.get()
            request.require_time_left()
            waited = await self._batcher.submit(
                received.units, request.deadline, priority=request.priority
            )
            record_timings(request.timings, waited)
            answers = waited.answers()
            return [_tensor(output, received, answers) for output in wanted]

    def _wanted(self, names: Sequence[str]) -> list[Output]:
        for name in names:
            if name not in self._outputs:
                raise InvalidRequest(f"output '{name}' is unknown; use {', '.join(self._outputs)}")
        return [self._outputs[name] for name in names or self._outputs]

    def _require_room(self, received: Received[U], wanted: Sequence[Output]) -> None:
        """Refuse a call whose answer no message could hold, before it is run."""
        num_bytes = sum(received.count(one.spec.per) * one.bytes_each for one in wanted)
        if num_bytes > self._max_bytes:
            raise InvalidRequest(
                f"the answer would have {num_bytes} bytes, a message of this model holds "
                f"{self._max_bytes}; split the call, or ask for fewer outputs"
            )


def _tensor(output: Output, received: Received[U], answers: Sequence[Answer]) -> Tensor:
    spec = output.spec
    array = received.assemble(spec.per, [answer[output.place] for answer in answers])
    return Tensor(spec.name, spec.datatype, array)


def by_name(inputs: Sequence[Tensor], specs: Mapping[str, TensorSpec]) -> dict[str, Array]:
    """Return the arrays of a call, each of the datatype and shape that the model takes.

    Raises:
        InvalidRequest: an input that is unknown, missing, given twice, or of another form.
    """
    given: dict[str, NDArray[np.generic]] = {}
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
        if not _fits(tensor.array.shape, spec.shape):
            raise InvalidRequest(
                f"input '{tensor.name}' has shape {list(tensor.array.shape)}, the model takes "
                f"{list(spec.shape)}, where -1 is free"
            )
        given[tensor.name] = tensor.array
    missing = [name for name in specs if name not in given]
    if missing:
        raise InvalidRequest(f"input '{missing[0]}' is missing; the model takes {', '.join(specs)}")
    return {name: given[name] for name in specs}


def _fits(shape: Sequence[int], promised: Sequence[int]) -> bool:
    return len(shape) == len(promised) and all(
        expected in {-1, found} for expected, found in zip(promised, shape, strict=True)
    )


def require_within(name: str, array: Array, high: int) -> None:
    """Refuse ids outside 0..high - 1: the graph would read whatever lies beside its table."""
    wrong = (array < 0) | (array >= high)  # type: ignore[operator]  # ids are integers
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0])
        raise InvalidRequest(
            f"input '{name}' holds {array[place]} at {[int(axis) for axis in place]}; "
            f"it must lie in 0 to {high - 1}"
        )
