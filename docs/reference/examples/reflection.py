"""A call of gRPC's own reflection service."""

from grpc_reflection.v1alpha import reflection_pb2 as pb
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

COMMENTS = {
    "grpc.reflection.v1alpha.ServerReflection": "What the server has, for tools such as grpcurl "
    "that bring no protos. `--no-reflection` turns it off.",
    "grpc.reflection.v1alpha.ServerReflection.ServerReflectionInfo": "One question per message, "
    "answered in order.",
}


def server_reflection_info(stub: ServerReflectionStub) -> None:
    question = pb.ServerReflectionRequest(list_services="")
    for answer in stub.ServerReflectionInfo(iter([question]), timeout=5):
        print([service.name for service in answer.list_services_response.service])
