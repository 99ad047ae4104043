"""The boundary around every message of a call: parse, identify, admit, time, errors into codes.

Messages are parsed here and not by gRPC, so that bytes which are no message, or text which is no
UTF-8, are the caller's INVALID_ARGUMENT and not an INTERNAL error.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message

from server import request as requests
from server.admission import Admission
from server.errors import InvalidRequest, Retryable, ServeError, Unforeseen
from server.metrics import Metrics
from server.rpc.status import code_of, reason_of
from server.rpc.streaming import in_order

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
# Generic in its stubs only, so the subscript stays a string.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Serve = Callable[[Any, Context], Awaitable[Message]]
Parse = Callable[[bytes], Message]
Authorize = Callable[[str, Context], None]
"""(method, context) -> nothing, or raises Unauthenticated or PermissionDenied."""
Failed = Callable[[str, Any, ServeError, Context], Message | None]
"""(method, message, error, context) -> the answer that reports a failed message of a stream; None
ends the stream with the error's status."""

FREE = frozenset(
    {
        "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelConfig",
        "ModelStatistics", "RepositoryIndex", "TraceSetting", "LogSettings",
        "SystemSharedMemoryStatus", "CudaSharedMemoryStatus",
    }
)  # fmt: skip
"""Calls that need no permit: they answer even when the server is full or drains."""

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

EARLY_S = 0.003
"""Deadlines are kept this much earlier than gRPC's own: it would end the call at the same moment
with a reset, which some callers see as CANCELLED."""

STREAM_WINDOW = 64
"""Messages of one stream that may be under way together; reading more waits."""

MAX_DETAIL = 1000
"""Characters of an error that are sent: a status travels in a header, and headers have a limit."""

PUSHBACK = "grpc-retry-pushback-ms"
"""Trailing metadata that tells a retrying client when to come back (gRPC proposal A6)."""


@dataclass(frozen=True, slots=True)
class Boundary:
    """Wraps the methods of every service."""

    admission: Admission
    metrics: Metrics
    authorize: Authorize | None = None

    def unary(self, method: str, serve: Serve, parse: Parse) -> Handler:
        """Return the handler of a call with one message and one answer."""
        answer: Any = self._call(method, serve, parse).unary
        return grpc.unary_unary_rpc_method_handler(answer, response_serializer=_serialize)

    def stream(self, method: str, serve: Serve, parse: Parse, failed: Failed) -> Handler:
        """Return the handler of a stream where each message is answered by `serve`, in order."""
        answer: Any = self._call(method, serve, parse, failed).stream
        return grpc.stream_stream_rpc_method_handler(answer, response_serializer=_serialize)

    def _call(
        self, method: str, serve: Serve, parse: Parse, failed: Failed | None = None
    ) -> "Call":
        if needs_permit(method):
            for code in EXPECTED_CODES:
                self.metrics.requests.labels(method, code.name)
        return Call(self, method, serve, parse, failed)


class Call:
    """One method behind the boundary."""

    def __init__(
        self,
        boundary: Boundary,
        method: str,
        serve: Serve,
        parse: Parse,
        failed: Failed | None,
    ) -> None:
        metrics = boundary.metrics
        self._method = method
        self._serve = serve
        self._parse_bytes = parse
        self._failed = failed
        self._admission = boundary.admission if needs_permit(method) else None
        self._authorize = boundary.authorize
        self._metrics = metrics
        self._duration = metrics.request_duration.labels(method)
        self._ok = metrics.requests.labels(method, grpc.StatusCode.OK.name)

    async def unary(self, data: bytes, context: Context) -> Message:
        """Answer one call. Ends in exactly one status, which is counted."""
        try:
            return await self._answer(data, context)
        except ServeError as error:
            await _abort(context, error)

    async def stream(
        self, messages: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[Message]:
        """Answer each message in the order they came; every one is counted by itself."""

        async def one(data: bytes) -> Message | ServeError:
            try:
                return await self._answer(data, context)
            except ServeError as error:
                return self._report(data, error, context)

        async for answer in in_order(messages, one, STREAM_WINDOW):
            if isinstance(answer, ServeError):
                await _abort(context, answer)
            yield answer

    def _report(self, data: bytes, error: ServeError, context: Context) -> Message | ServeError:
        try:
            message = self._parse(data)
        except InvalidRequest as unreadable:
            return unreadable
        assert self._failed is not None, "a stream reports its failures"
        return self._failed(self._method, message, error, context) or error

    async def _answer(self, data: bytes, context: Context) -> Message:
        """Answer one message.

        Raises:
            ServeError: whatever went wrong, unforeseen things included.
        """
        request = _envelope(context)
        requests.current.set(request)  # gRPC and `in_order` give each message a task of its own
        code = grpc.StatusCode.CANCELLED
        num_bytes = len(data)
        admission = self._admission
        try:
            if self._authorize is not None:
                self._authorize(self._method, context)
            if admission is None:
                response = await self._serve(self._parse(data), context)
            else:
                admission.enter(num_bytes)
                try:
                    response = await self._serve(self._parse(data), context)
                finally:
                    admission.leave(num_bytes)
            code = grpc.StatusCode.OK
        except ServeError as error:
            code = code_of(error)
            self._note(error, request)
            raise
        except Exception as error:
            code = grpc.StatusCode.INTERNAL
            log.exception("a call failed inside the server", extra={"method": self._method})
            raise Unforeseen("the call failed inside the server; see its log") from error
        finally:
            self._count(code, request)
        return response

    def _count(self, code: grpc.StatusCode, request: requests.Request) -> None:
        if code is grpc.StatusCode.OK:
            self._ok.inc()
        else:
            if code is grpc.StatusCode.CANCELLED:
                code = self._given_up(request)
            self._metrics.requests.labels(self._method, code.name).inc()
        self._duration.observe(monotonic() - request.started)

    def _parse(self, data: bytes) -> Message:
        try:
            return self._parse_bytes(data)
        except DecodeError as error:
            raise InvalidRequest(
                f"the message cannot be parsed ({error}); text must be UTF-8"
            ) from error

    def _note(self, error: ServeError, request: requests.Request) -> None:
        reason = reason_of(error)
        if reason:
            self._metrics.rejected.labels(reason).inc()
        log.debug(
            "a call was refused",
            extra={"method": self._method, "reason": str(error), "after_s": _age(request)},
        )

    def _given_up(self, request: requests.Request) -> grpc.StatusCode:
        """Return why the caller is gone: gRPC cancels the call in both cases."""
        expired = monotonic() >= request.deadline - DEADLINE_SLACK_S
        self._metrics.rejected.labels("expired" if expired else "cancelled").inc()
        return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED


def needs_permit(method: str) -> bool:
    """Return whether a call counts as work, which is bounded and refused while draining."""
    return method.rpartition("/")[2] not in FREE


def _shortened(error: ServeError) -> str:
    """Return the message of an error as a status can carry it; some name what the caller sent."""
    text = str(error)
    if len(text) <= MAX_DETAIL:
        return text
    return f"{text[: MAX_DETAIL // 2]} [...] {text[-MAX_DETAIL // 2 :]}"


async def _abort(context: Context, error: ServeError) -> NoReturn:
    trailing: tuple[tuple[str, str], ...] = ()
    if isinstance(error, Retryable):
        trailing = ((PUSHBACK, str(math.ceil(error.retry_after_s * 1000))),)
    await context.abort(code_of(error), _shortened(error), trailing)
    raise asyncio.CancelledError  # never reached: abort raises


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _envelope(context: Context) -> requests.Request:
    remaining_s = context.time_remaining()
    if remaining_s is None:
        return requests.Request()
    early_s = min(EARLY_S, remaining_s / 4)
    return requests.Request(deadline=monotonic() + remaining_s - early_s)


def _age(request: requests.Request) -> float:
    return round(monotonic() - request.started, 6)
