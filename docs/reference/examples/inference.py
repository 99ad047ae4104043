"""One call of each method of the Open Inference Protocol."""

import grpc
import numpy as np

from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub


def server_live(stub: GRPCInferenceServiceStub) -> None:
    print(stub.ServerLive(pb.ServerLiveRequest(), timeout=5).live)


def server_ready(stub: GRPCInferenceServiceStub) -> None:
    print(stub.ServerReady(pb.ServerReadyRequest(), timeout=5).ready)


def model_ready(stub: GRPCInferenceServiceStub) -> None:
    print(stub.ModelReady(pb.ModelReadyRequest(name="minilm"), timeout=5).ready)


def server_metadata(stub: GRPCInferenceServiceStub) -> None:
    answer = stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=5)
    print(answer.name, answer.version, answer.extensions)


def model_metadata(stub: GRPCInferenceServiceStub) -> None:
    answer = stub.ModelMetadata(pb.ModelMetadataRequest(name="minilm"), timeout=5)
    for tensor in [*answer.inputs, *answer.outputs]:
        print(tensor.name, tensor.datatype, tensor.shape)


def model_infer(stub: GRPCInferenceServiceStub) -> None:
    rows = {"input_ids": [2, 7, 3, 0], "segment_ids": [1, 1, 1, 0], "position_ids": [0, 1, 2, 0]}
    inputs = [
        pb.ModelInferRequest.InferInputTensor(
            name=name,
            datatype="INT64",
            shape=[1, len(row)],
            contents=pb.InferTensorContents(int64_contents=row),
        )
        for name, row in rows.items()
    ]
    answer = stub.ModelInfer(pb.ModelInferRequest(model_name="minilm", inputs=inputs), timeout=5)
    for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True):
        print(output.name, np.frombuffer(raw, "<f4").reshape(output.shape))


def model_stream_infer(stub: GRPCInferenceServiceStub) -> None:
    names = ("input_ids", "segment_ids", "position_ids")
    tensors = [
        pb.ModelInferRequest.InferInputTensor(name=name, datatype="INT64", shape=[1, 3])
        for name in names
    ]
    requests = [
        pb.ModelInferRequest(
            model_name="minilm",
            id=str(token),
            inputs=tensors,
            raw_input_contents=[
                np.array(row, "<i8").tobytes() for row in ([2, token, 3], [1, 1, 1], [0, 1, 2])
            ],
        )
        for token in (7, 8)
    ]
    for answer in stub.ModelStreamInfer(iter(requests), timeout=60):
        print(answer.infer_response.id, answer.error_message or "answered")


def model_config(stub: GRPCInferenceServiceStub) -> None:
    config = stub.ModelConfig(pb.ModelConfigRequest(name="minilm"), timeout=5).config
    print(config.platform, config.max_batch_size, config.parameters["task"].string_value)


def model_statistics(stub: GRPCInferenceServiceStub) -> None:
    answer = stub.ModelStatistics(pb.ModelStatisticsRequest(name="minilm"), timeout=5)
    for model in answer.model_stats:
        print(model.name, model.version, model.inference_count, model.execution_count)


def repository_index(stub: GRPCInferenceServiceStub) -> None:
    for model in stub.RepositoryIndex(pb.RepositoryIndexRequest(), timeout=5).models:
        print(model.name, model.version, model.state, model.reason)


def repository_model_load(stub: GRPCInferenceServiceStub) -> None:
    request = pb.RepositoryModelLoadRequest(model_name="minilm")
    stub.RepositoryModelLoad(request, timeout=60)
    print("minilm serves")


def repository_model_unload(stub: GRPCInferenceServiceStub) -> None:
    request = pb.RepositoryModelUnloadRequest(model_name="old-minilm")
    stub.RepositoryModelUnload(request, timeout=60)
    print("old-minilm is gone")


def system_shared_memory_status(stub: GRPCInferenceServiceStub) -> None:
    answer = stub.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest(), timeout=5)
    print({name: region.byte_size for name, region in answer.regions.items()})


def system_shared_memory_register(stub: GRPCInferenceServiceStub) -> None:
    request = pb.SystemSharedMemoryRegisterRequest(name="ids", key="/heed-ids", byte_size=4096)
    try:
        stub.SystemSharedMemoryRegister(request, timeout=5)
        print("ids can be named in ModelInfer")
    except grpc.RpcError as error:
        print(error.code(), error.details())


def system_shared_memory_unregister(stub: GRPCInferenceServiceStub) -> None:
    request = pb.SystemSharedMemoryUnregisterRequest(name="ids")
    stub.SystemSharedMemoryUnregister(request, timeout=5)
    print("ids is forgotten")


def cuda_shared_memory_status(stub: GRPCInferenceServiceStub) -> None:
    answer = stub.CudaSharedMemoryStatus(pb.CudaSharedMemoryStatusRequest(), timeout=5)
    print(len(answer.regions))


def cuda_shared_memory_register(stub: GRPCInferenceServiceStub) -> None:
    request = pb.CudaSharedMemoryRegisterRequest(name="ids", raw_handle=bytes(64), byte_size=4096)
    try:
        stub.CudaSharedMemoryRegister(request, timeout=5)
    except grpc.RpcError as error:
        print(error.code())  # UNIMPLEMENTED


def cuda_shared_memory_unregister(stub: GRPCInferenceServiceStub) -> None:
    request = pb.CudaSharedMemoryUnregisterRequest(name="ids")
    stub.CudaSharedMemoryUnregister(request, timeout=5)
    print("nothing to forget")


def trace_setting(stub: GRPCInferenceServiceStub) -> None:
    answer = stub.TraceSetting(pb.TraceSettingRequest(), timeout=5)
    print({name: list(setting.value) for name, setting in answer.settings.items()})


def log_settings(stub: GRPCInferenceServiceStub) -> None:
    answer = stub.LogSettings(pb.LogSettingsRequest(), timeout=5)
    print(sorted(answer.settings))
