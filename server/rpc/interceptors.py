"""The boundary around every unary call: parse, identify, admit, time, and turn errors into codes.

The message is parsed here and not by gRPC, so that bytes which are no message, or text which is
no UTF-8, are the caller's INVALID_ARGUMENT and not an INTERNAL error.
"""

import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message

from server import request as requests
from server.admission import Admission
from server.errors import InvalidRequest, ServeError
from server.metrics import Metrics
from server.rpc.status import code_of, reason_of

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
# Generic in its stubs only, so the subscript stays a string.
MaybeHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

WORK = frozenset(
    {
        "/inference.GRPCInferenceService/ModelInfer",
        "/heed.v1.TextService/Embed",
        "/heed.v1.TextService/Tokenize",
    }
)
"""Calls that need a permit. Health, metadata and statistics answer even when the server is full."""


EXPECTED_CODES = (
    grpc.StatusCode.OK,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
)
"""Counted from 0 on, so that the first failure is already a rate."""

DEADLINE_SLACK_S = 0.05
"""A caller that gives up at its deadline is heard a little before the server's clock agrees."""


class Boundary(grpc.aio.ServerInterceptor):
    """Wraps every unary handler once and remembers it."""

    def __init__(self, admission: Admission, metrics: Metrics) -> None:
        self._admission = admission
        self._metrics = metrics
        self._wrapped: dict[str, Handler] = {}
        for method in WORK:
            for code in EXPECTED_CODES:
                metrics.requests.labels(method, code.name)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[MaybeHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> MaybeHandler:
        """Return the handler of a call, with the boundary around it when it is unary."""
        method = handler_call_details.method
        if method not in self._wrapped:
            handler = await continuation(handler_call_details)
            if handler is None or handler.unary_unary is None:
                return handler
            self._wrapped[method] = self._wrap(method, handler)
        return self._wrapped[method]

    def _wrap(self, method: str, handler: Handler) -> Handler:
        serve: Any = handler.unary_unary
        parse: Any = handler.request_deserializer
        call = Call(method, serve, parse, self._admission, self._metrics)
        answer: Any = call.answer
        return grpc.unary_unary_rpc_method_handler(
            answer, request_deserializer=None, response_serializer=handler.response_serializer
        )


@dataclass(slots=True)
class Call:
    """One method behind the boundary."""

    method: str
    serve: Callable[[Message, Context], Awaitable[Message]]
    parse: Callable[[bytes], Message]
    admission: Admission
    metrics: Metrics

    async def answer(self, data: bytes, context: Context) -> Message:
        """Answer one call. Ends in exactly one status, which is counted."""
        request = _envelope(context)
        token = requests.current.set(request)
        code = grpc.StatusCode.CANCELLED
        try:
            with self._permit():
                message = self._parse(data)
                response = await self.serve(message, context)
            code = grpc.StatusCode.OK
        except ServeError as error:
            code = code_of(error)
            self._note(error, request)
            await context.abort(code, str(error))
        except grpc.aio.AbortError:
            code = context.code() or grpc.StatusCode.UNKNOWN
            raise
        except Exception:
            code = grpc.StatusCode.INTERNAL
            log.exception("a call failed inside the server", extra={"method": self.method})
            await context.abort(code, "the call failed inside the server; see its log")
        finally:
            if code is grpc.StatusCode.CANCELLED:
                code = self._given_up(request)
            self.metrics.requests.labels(self.method, code.name).inc()
            self.metrics.request_duration.labels(self.method).observe(monotonic() - request.started)
            requests.current.reset(token)
        return response

    def _permit(self) -> AbstractContextManager[None]:
        return self.admission.permit() if self.method in WORK else nullcontext()

    def _parse(self, data: bytes) -> Message:
        try:
            return self.parse(data)
        except DecodeError as error:
            raise InvalidRequest(
                f"the message cannot be parsed ({error}); text must be UTF-8"
            ) from error

    def _note(self, error: ServeError, request: requests.Request) -> None:
        reason = reason_of(error)
        if reason:
            self.metrics.rejected.labels(reason).inc()
        log.debug(
            "a call was refused",
            extra={"method": self.method, "reason": str(error), "after_s": _age(request)},
        )

    def _given_up(self, request: requests.Request) -> grpc.StatusCode:
        """Return why the caller is gone: gRPC cancels the call in both cases."""
        expired = monotonic() >= request.deadline - DEADLINE_SLACK_S
        self.metrics.rejected.labels("expired" if expired else "cancelled").inc()
        return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED


def _envelope(context: Context) -> requests.Request:
    remaining_s = context.time_remaining()
    deadline = math.inf if remaining_s is None else monotonic() + remaining_s
    return requests.Request(deadline=deadline)


def _age(request: requests.Request) -> float:
    return round(monotonic() - request.started, 6)
