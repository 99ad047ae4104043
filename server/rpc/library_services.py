"""Health and reflection, which gRPC's libraries implement, with our checks before them.

The libraries let gRPC parse, which reports bytes that are no message as the server's own fault, and
know nothing of API keys. Their methods are wrapped here, whatever their kind.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from server.errors import InvalidRequest, ServeError
from server.rpc.boundary import Authorize, Context, Handler
from server.rpc.status import code_of


def health(servicer: object, authorize: Authorize | None) -> grpc.GenericRpcHandler:
    """Return the handlers of grpc.health.v1."""
    return _guarded(health_pb2_grpc.add_HealthServicer_to_server, servicer, authorize)


def reflected(services: list[str], authorize: Authorize | None) -> grpc.GenericRpcHandler:
    """Return the handlers of server reflection, which describes `services`."""
    return _guarded(
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server,
        reflection.aio.ReflectionServicer([*services, reflection.SERVICE_NAME]),
        authorize,
    )


class _Collector:
    """Stands in for a server while a library registers its methods."""

    def __init__(self) -> None:
        self.service = ""
        self.methods: Mapping[str, Handler] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Ignore the generic form: the registered form below has the same methods by name."""

    def add_registered_method_handlers(self, service: str, methods: Mapping[str, Handler]) -> None:
        self.service, self.methods = service, methods


def _guarded(
    add: Callable[[Any, Any], None], servicer: object, authorize: Authorize | None
) -> grpc.GenericRpcHandler:
    collector = _Collector()
    add(servicer, collector)
    return grpc.method_handlers_generic_handler(
        collector.service,
        {
            name: _Guard(f"/{collector.service}/{name}", handler, authorize).handler()
            for name, handler in collector.methods.items()
        },
    )


class _Guard:
    """One method of a library, which gets parsed messages of callers with the right key."""

    def __init__(self, path: str, inner: Handler, authorize: Authorize | None) -> None:
        self._path = path
        self._inner: Any = inner
        self._authorize = authorize

    def handler(self) -> Handler:
        """Return the handler that takes the place of the library's."""
        serialize = self._inner.response_serializer
        if self._inner.unary_unary:
            return grpc.unary_unary_rpc_method_handler(self._unary, response_serializer=serialize)
        if self._inner.unary_stream:
            return grpc.unary_stream_rpc_method_handler(self._watch, response_serializer=serialize)
        assert self._inner.stream_stream, "no method of a library streams requests only"
        return grpc.stream_stream_rpc_method_handler(self._stream, response_serializer=serialize)

    async def _unary(self, data: bytes, context: Context) -> Any:  # noqa: ANN401  (its message)
        return await self._inner.unary_unary(await self._parsed(data, context), context)

    async def _watch(self, data: bytes, context: Context) -> None:
        # A coroutine that writes to the context, not a generator.
        await self._inner.unary_stream(await self._parsed(data, context), context)

    async def _stream(self, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
        async def parsed() -> AsyncIterator[Any]:
            async for data in messages:
                yield await self._parsed(data, context)

        async for answer in self._inner.stream_stream(parsed(), context):
            yield answer

    async def _parsed(self, data: bytes, context: Context) -> Any:  # noqa: ANN401  (any message)
        try:
            if self._authorize is not None:
                self._authorize(self._path, context)
            return self._inner.request_deserializer(data)
        except DecodeError as error:
            problem: ServeError = InvalidRequest(f"the message cannot be parsed ({error})")
        except ServeError as error:
            problem = error
        await context.abort(code_of(problem), str(problem))
        raise problem  # never reached: abort raises
