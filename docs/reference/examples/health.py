"""One call of each method of gRPC's own health service."""

import grpc
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1.health_pb2_grpc import HealthStub

COMMENTS = {
    "grpc.health.v1.Health": "Readiness in the form that Kubernetes, proxies and gRPC clients ask "
    "for. It needs no permit and answers while the server is full or drains.",
    "grpc.health.v1.Health.Check": "Present state. NOT_FOUND for a name that is not known.",
    "grpc.health.v1.Health.List": "UNIMPLEMENTED: gRPC's library does not serve it yet. "
    "RepositoryIndex lists the models and their states.",
    "grpc.health.v1.Health.Watch": "Present state, and each one that follows.",
    "grpc.health.v1.HealthCheckRequest.service": "Empty for the whole server, or the name of a "
    "model.",
    "grpc.health.v1.HealthCheckResponse.ServingStatus.SERVICE_UNKNOWN": "Only from Watch: not "
    "known now, may appear later.",
    "grpc.health.v1.HealthCheckResponse.ServingStatus.NOT_SERVING": "Loading or draining.",
}


def check(stub: HealthStub) -> None:
    print(stub.Check(pb.HealthCheckRequest(), timeout=5).status)


def list_(stub: HealthStub) -> None:
    try:
        stub.List(pb.HealthListRequest(), timeout=5)
    except grpc.RpcError as error:
        print(error.code())  # UNIMPLEMENTED


def watch(stub: HealthStub) -> None:
    call = stub.Watch(pb.HealthCheckRequest(), timeout=60)
    print(next(call).status)
    call.cancel()
