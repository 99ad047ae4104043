"""The Open Inference Protocol service: one short method per call, no decisions."""

from importlib.metadata import version as distribution_version
from time import monotonic
from typing import Any

import grpc

from protos import inference_pb2 as pb
from protos import inference_pb2_grpc as pb_grpc
from server import request as requests
from server.batching.statistics import Duration, RunDurations
from server.errors import InvalidRequest, ModelNotFound, ModelNotReady, Unsupported
from server.registry import Registry, State
from server.rpc import codec, describe
from server.tasks.model import LoadedModel

Context = grpc.aio.ServicerContext[Any, Any]

EXTENSIONS = ("binary_tensor_data", "model_configuration", "parameters", "statistics")
"""Extensions whose calls answer. Clients trust this list."""


class InferenceService(pb_grpc.GRPCInferenceServiceServicer):
    """Tensors in, tensors out, and everything that tools ask about a model."""

    def __init__(self, registry: Registry, max_rows: int) -> None:
        self._registry = registry
        self._max_rows = max_rows

    async def ServerLive(
        self, request: pb.ServerLiveRequest, context: Context
    ) -> pb.ServerLiveResponse:
        del request, context
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(
        self, request: pb.ServerReadyRequest, context: Context
    ) -> pb.ServerReadyResponse:
        del request, context
        return pb.ServerReadyResponse(ready=self._registry.is_ready)

    async def ModelReady(
        self, request: pb.ModelReadyRequest, context: Context
    ) -> pb.ModelReadyResponse:
        del context
        try:
            self._registry.get(request.name, request.version)
        except (ModelNotFound, ModelNotReady):
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=self._registry.accepting)

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: Context
    ) -> pb.ServerMetadataResponse:
        del request, context
        return pb.ServerMetadataResponse(
            name="heed", version=distribution_version("heed"), extensions=EXTENSIONS
        )

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
        del context
        manifest = self._registry.get(request.name, request.version).manifest
        return describe.metadata(manifest, self._registry.ready_versions(manifest.name))

    async def ModelConfig(
        self, request: pb.ModelConfigRequest, context: Context
    ) -> pb.ModelConfigResponse:
        del context
        manifest = self._registry.get(request.name, request.version).manifest
        return pb.ModelConfigResponse(config=describe.config(manifest, self._max_rows))

    async def ModelInfer(
        self, request: pb.ModelInferRequest, context: Context
    ) -> pb.ModelInferResponse:
        del context
        call = requests.current.get()
        call.id = request.id
        model = self._registry.get(request.model_name, request.model_version)
        timeout_s = codec.decode_timeout(request)
        if timeout_s is not None:
            call.deadline = min(call.deadline, monotonic() + timeout_s)
        inputs = codec.decode_inputs(request)
        outputs = await model.infer.run(inputs, codec.decode_requested(request))
        response = pb.ModelInferResponse(
            model_name=model.manifest.name,
            model_version=str(model.manifest.version),
            id=request.id,
        )
        codec.encode_outputs(outputs, response)
        return response

    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, context: Context
    ) -> pb.ModelStatisticsResponse:
        del context
        if not request.name:
            models = self._registry.models()
        else:
            try:
                models = [self._registry.get(request.name, request.version)]
            except ModelNotFound as error:
                # The extension's own code for this case, unlike every other call.
                raise InvalidRequest(str(error)) from error
        return pb.ModelStatisticsResponse(model_stats=[_statistics(model) for model in models])

    async def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, context: Context
    ) -> pb.RepositoryIndexResponse:
        del context
        if request.repository_name:
            raise Unsupported("heed serves one repository; leave repository_name empty")
        index = pb.RepositoryIndexResponse.ModelIndex
        return pb.RepositoryIndexResponse(
            models=[
                index(
                    name=entry.name,
                    version=str(entry.version),
                    state=entry.state.value,
                    reason=entry.reason,
                )
                for entry in self._registry.entries()
                if entry.state is State.READY or not request.ready
            ]
        )


def _statistics(model: LoadedModel) -> pb.ModelStatistics:
    counted = model.statistics
    return pb.ModelStatistics(
        name=model.manifest.name,
        version=str(model.manifest.version),
        last_inference=counted.last_run_ms,
        inference_count=counted.num_sequences,
        execution_count=counted.num_runs,
        inference_stats=pb.InferStatistics(
            success=_duration(counted.success),
            fail=_duration(counted.fail),
            queue=_duration(counted.queue),
            **_stages(counted.per_sequence),
        ),
        batch_stats=[
            pb.InferBatchStatistics(batch_size=size, **_stages(durations))
            for size, durations in sorted(counted.by_batch.items())
        ],
    )


def _stages(durations: RunDurations) -> dict[str, pb.StatisticDuration]:
    return {
        "compute_input": _duration(durations.pack),
        "compute_infer": _duration(durations.run),
        "compute_output": _duration(durations.scatter),
    }


def _duration(duration: Duration) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=duration.count, ns=duration.ns)
