"""Servicers to gRPC handlers: every method of a service's descriptor, behind the boundary."""

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from server.rpc.boundary import Boundary, Failed, Handler, Serve


def handlers(
    service: ServiceDescriptor, servicer: object, boundary: Boundary
) -> grpc.GenericRpcHandler:
    """Return the handlers of a service.

    A method with one message and one answer is `async def Name(message, context) -> answer`. A
    stream of messages and answers has the same signature, is called for each message, and
    `servicer.failed(method, message, error, context)` turns an error into an answer.
    """
    table = {method.name: _handler(method, servicer, boundary) for method in service.methods}
    return grpc.method_handlers_generic_handler(service.full_name, table)


def _handler(method: MethodDescriptor, servicer: object, boundary: Boundary) -> Handler:
    path = f"/{method.containing_service.full_name}/{method.name}"
    serve: Serve = getattr(servicer, method.name)
    parse = GetMessageClass(method.input_type).FromString
    assert method.client_streaming == method.server_streaming, "both sides stream or none does"
    if not method.client_streaming:
        return boundary.unary(path, serve, parse)
    failed: Failed = servicer.failed  # type: ignore[attr-defined]  # each method may be absent too
    return boundary.stream(path, serve, parse, failed)
