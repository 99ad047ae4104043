"""One inference of the Open Inference Protocol, alone or on a stream: message in, message out."""

from collections.abc import Sequence
from functools import partial
from time import monotonic

from protos import inference_pb2 as pb
from server import request as requests
from server.registry import Registry
from server.repository.manifest import Manifest
from server.repository.sizes import message_bytes
from server.rpc import codec
from server.rpc.classification import classified, require_classes
from server.rpc.parameters import Requested, decode_requested, decode_scheduling
from server.rpc.shared_memory import Regions
from server.rpc.tracing import Tracing
from server.tasks.model import LoadedModel
from server.tensor import Tensor


class InferCall:
    """What every inference needs beside its message."""

    def __init__(self, registry: Registry, regions: Regions, tracing: Tracing) -> None:
        self._registry = registry
        self._regions = regions
        self._tracing = tracing

    async def run(self, request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        """Answer a message.

        Raises:
            ServeError: it cannot be answered; says what to change.
        """
        call = requests.current.get()
        call.id = request.id
        model = self._registry.get(request.model_name, request.model_version)
        _schedule(call, request, model.config.priority_levels)
        requested = decode_requested(request)
        self._check(requested, model.manifest)
        inputs = codec.decode_inputs(request, self._regions, partial(_region_bytes, model))
        outputs = await model.infer.run(inputs, [one.name for one in requested])
        response = pb.ModelInferResponse(
            model_name=model.manifest.name,
            model_version=str(model.manifest.version),
            id=request.id,
        )
        codec.encode_outputs(
            _in_form(outputs, requested, model.manifest),
            response,
            self._regions,
            {one.name: one.place for one in requested if one.place is not None},
        )
        self._tracing.record(call, model.manifest)
        return response

    def _check(self, requested: Sequence[Requested], manifest: Manifest) -> None:
        """Refuse a form of an output that it cannot have, before anything is run."""
        for one in requested:
            if one.place is not None:
                self._regions.require(one.place)
            if one.num_classes:
                for spec in manifest.outputs:
                    if spec.name == one.name:
                        require_classes(one.num_classes, spec)


def _schedule(call: requests.Request, request: pb.ModelInferRequest, priority_levels: int) -> None:
    if not request.parameters:
        return
    scheduling = decode_scheduling(request.parameters, priority_levels)
    call.priority = scheduling.priority
    if scheduling.timeout_s is not None:
        call.deadline = min(call.deadline, monotonic() + scheduling.timeout_s)


def _region_bytes(model: LoadedModel) -> int:
    """Return how much a request may bring in shared memory: as much as in its message."""
    return message_bytes(model.manifest, model.config.max_request_sequences)


def _in_form(
    outputs: Sequence[Tensor], requested: Sequence[Requested], manifest: Manifest
) -> list[Tensor]:
    """Return the outputs as they were asked for: as tensors, or as classes."""
    num_classes = {one.name: one.num_classes for one in requested if one.num_classes}
    if not num_classes:
        return list(outputs)
    labels = manifest.labels.names if manifest.labels is not None else ()
    return [
        classified(tensor, num_classes[tensor.name], labels)
        if tensor.name in num_classes
        else tensor
        for tensor in outputs
    ]
