"""The Open Inference Protocol service: one short method per call, no decisions."""

from collections.abc import Sized
from importlib.metadata import version as distribution_version
from typing import Any

import grpc

from protos import inference_pb2 as pb
from protos import inference_pb2_grpc as pb_grpc
from server import request as requests
from server.config import ServerConfig
from server.control import Control
from server.errors import (
    BundleCorrupt,
    ControlDisabled,
    InvalidRequest,
    ModelNotFound,
    ModelNotReady,
    ServeError,
    Unsupported,
)
from server.registry import UNLOADED, Registry, State
from server.rpc import describe, override, parameters
from server.rpc.infer_call import InferCall
from server.rpc.log_settings import LogLevels
from server.rpc.shared_memory import Regions
from server.rpc.statistics import statistics
from server.rpc.timing import KEY, server_timing
from server.rpc.tracing import Tracing
from server.tasks.model import LoadedModel

Context = grpc.aio.ServicerContext[Any, Any]

CLOSE_ON_ERROR = ("triton_grpc_error", "true")
"""Metadata of a stream that wants its first error as a status."""


class InferenceService(pb_grpc.GRPCInferenceServiceServicer):
    """Tensors in, tensors out, and everything that tools ask about a model."""

    def __init__(self, registry: Registry, config: ServerConfig, control: Control) -> None:
        self._registry = registry
        self._config = config
        self._control = control
        self._regions = Regions(enabled=config.shared_memory)
        self._tracing = Tracing()
        self._log_levels = LogLevels()
        self._infer = InferCall(registry, self._regions, self._tracing)

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
            name="heed",
            version=distribution_version("heed"),
            extensions=describe.extensions(self._config),
        )

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
        del context
        manifest = self._described(request.name, request.version).manifest
        return describe.metadata(manifest, self._registry.ready_versions(manifest.name))

    async def ModelConfig(
        self, request: pb.ModelConfigRequest, context: Context
    ) -> pb.ModelConfigResponse:
        del context
        model = self._described(request.name, request.version)
        return pb.ModelConfigResponse(config=describe.model_config(model))

    async def ModelInfer(
        self, request: pb.ModelInferRequest, context: Context
    ) -> pb.ModelInferResponse:
        response = await self._infer.run(request)
        timing = server_timing(requests.current.get())
        context.set_trailing_metadata(((KEY, timing),))
        return response

    async def ModelStreamInfer(
        self, request: pb.ModelInferRequest, context: Context
    ) -> pb.ModelStreamInferResponse:
        del context
        return _final(pb.ModelStreamInferResponse(infer_response=await self._infer.run(request)))

    def failed(
        self, method: str, request: pb.ModelInferRequest, error: ServeError, context: Context
    ) -> pb.ModelStreamInferResponse | None:
        """Return the answer to a message of a stream that failed; None ends the stream."""
        del method
        if CLOSE_ON_ERROR in (context.invocation_metadata() or ()):
            return None
        answer = pb.ModelStreamInferResponse(error_message=str(error))
        answer.infer_response.id = request.id
        return _final(answer)

    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, context: Context
    ) -> pb.ModelStatisticsResponse:
        del context
        if not request.name:
            models = self._registry.models()
        else:
            try:
                models = [self._registry.get(request.name, request.version)]
            except (ModelNotFound, ModelNotReady) as error:
                # The extension's own code for this case, unlike every other call.
                raise InvalidRequest(str(error)) from error
        return pb.ModelStatisticsResponse(model_stats=[statistics(model) for model in models])

    async def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, context: Context
    ) -> pb.RepositoryIndexResponse:
        del context
        _require_one_repository(request.repository_name)
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

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        del context
        control = self._require_control(request.repository_name)
        text = parameters.decode_load(request.parameters)
        options = None
        if text is not None:
            present = self._registry.ready_models(request.model_name)
            shown = describe.model_config(present[max(present)]) if present else None
            options = override.read(text, request.model_name, self._config, shown)
        try:
            await control.load(request.model_name, options)
        except BundleCorrupt as error:
            # The extension's own code for a model that is there and cannot serve.
            raise InvalidRequest(str(error)) from error
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        del context
        control = self._require_control(request.repository_name)
        parameters.check_unload(request.parameters)
        await control.unload(request.model_name)
        return pb.RepositoryModelUnloadResponse()

    async def SystemSharedMemoryStatus(
        self, request: pb.SystemSharedMemoryStatusRequest, context: Context
    ) -> pb.SystemSharedMemoryStatusResponse:
        del context
        status = pb.SystemSharedMemoryStatusResponse.RegionStatus
        return pb.SystemSharedMemoryStatusResponse(
            regions={
                one.name: status(
                    name=one.name, key=one.key, offset=one.offset, byte_size=one.num_bytes
                )
                for one in self._regions.status(request.name)
            }
        )

    async def SystemSharedMemoryRegister(
        self, request: pb.SystemSharedMemoryRegisterRequest, context: Context
    ) -> pb.SystemSharedMemoryRegisterResponse:
        del context
        self._regions.register(request.name, request.key, request.offset, request.byte_size)
        return pb.SystemSharedMemoryRegisterResponse()

    async def SystemSharedMemoryUnregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, context: Context
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        del context
        self._regions.unregister(request.name)
        return pb.SystemSharedMemoryUnregisterResponse()

    async def CudaSharedMemoryStatus(
        self, request: pb.CudaSharedMemoryStatusRequest, context: Context
    ) -> pb.CudaSharedMemoryStatusResponse:
        del request, context
        return pb.CudaSharedMemoryStatusResponse()

    async def CudaSharedMemoryRegister(
        self, request: pb.CudaSharedMemoryRegisterRequest, context: Context
    ) -> pb.CudaSharedMemoryRegisterResponse:
        del request, context
        raise Unsupported("CUDA shared memory is not served; send tensors in the message")

    async def CudaSharedMemoryUnregister(
        self, request: pb.CudaSharedMemoryUnregisterRequest, context: Context
    ) -> pb.CudaSharedMemoryUnregisterResponse:
        del request, context
        return pb.CudaSharedMemoryUnregisterResponse()

    async def TraceSetting(
        self, request: pb.TraceSettingRequest, context: Context
    ) -> pb.TraceSettingResponse:
        del context
        model = request.model_name
        if model and model not in self._registry.names():
            raise InvalidRequest(f"model '{model}' is not in the repository")
        self._require_sole(request.settings)
        self._tracing.update(
            model, {name: setting.value for name, setting in request.settings.items()}
        )
        value = pb.TraceSettingResponse.SettingValue
        settings = self._tracing.settings(model)
        return pb.TraceSettingResponse(
            settings={name: value(value=[text]) for name, text in settings.items()}
        )

    async def LogSettings(
        self, request: pb.LogSettingsRequest, context: Context
    ) -> pb.LogSettingsResponse:
        del context
        self._require_sole(request.settings)
        self._log_levels.update(
            {name: _log_value(setting) for name, setting in request.settings.items()}
        )
        settings = self._log_levels.settings()
        return pb.LogSettingsResponse(
            settings={name: _log_setting(value) for name, value in settings.items()}
        )

    def _described(self, name: str, version: str) -> LoadedModel:
        """Return a model to describe. Unlike one to run, it is not found once it is unloaded."""
        try:
            return self._registry.get(name, version)
        except ModelNotReady as error:
            entries = self._registry.entries()
            if any(entry.name == name and entry.reason == UNLOADED for entry in entries):
                raise ModelNotFound(str(error)) from error
            raise

    def _require_sole(self, settings: Sized) -> None:
        """Refuse to change what other processes on the port would not hear of."""
        if settings and self._config.reuse_port:
            raise Unsupported(
                "settings are not changed where several processes answer on one port: a call "
                "reaches one of them only; restart them with other options"
            )

    def _require_control(self, repository: str) -> Control:
        if self._config.model_control != "explicit":
            raise ControlDisabled(
                "models are loaded and unloaded by calls only with --model-control explicit"
            )
        _require_one_repository(repository)
        return self._control


def _require_one_repository(name: str) -> None:
    if name:
        raise Unsupported("heed serves one repository; leave repository_name empty")


def _final(answer: pb.ModelStreamInferResponse) -> pb.ModelStreamInferResponse:
    answer.infer_response.parameters["triton_final_response"].bool_param = True
    return answer


def _log_value(setting: pb.LogSettingsRequest.SettingValue) -> bool | int | str | None:
    kind = setting.WhichOneof("parameter_choice")
    return None if kind is None else getattr(setting, kind)


def _log_setting(value: bool | int | str) -> pb.LogSettingsResponse.SettingValue:  # noqa: FBT001
    setting = pb.LogSettingsResponse.SettingValue
    if isinstance(value, bool):
        return setting(bool_param=value)
    return setting(uint32_param=value) if isinstance(value, int) else setting(string_param=value)
