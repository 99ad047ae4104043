"""Send a call and hear how it ended, with the instants of both. Decides nothing about when.

Unary calls end in a callback on a thread of gRPC's, about a tenth of a millisecond of CPU each.
A stream has a thread of ours while it is open, because only a blocking read tells when its first
message came.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

import grpc

from loadtest.record.row import WARMUP
from loadtest.sender.channel import Connection
from loadtest.sender.clock import Clock
from loadtest.workload.payload import Payload

MAX_STREAMS = 256
"""Open streams of one sending process; each holds two threads, one of ours and one of gRPC's."""


@dataclass(slots=True)
class Call:
    """One call: what was planned, and once it has ended, what came of it."""

    payload: Payload
    payload_number: int = 0
    index: int = 0
    scheduled_ns: int = 0
    phase: int = WARMUP
    connection: int = 0
    sent_ns: int = 0
    first_ns: int = 0
    done_ns: int = 0
    code: int = 0
    detail: str = ""
    messages: Sequence[bytes] = ()
    trailing: Sequence[tuple[str, str | bytes]] = ()
    # The thread that is about to hear of the end itself, because the call ended at once.
    sender: int = 0


Then = Callable[[Call], None]


class Wire:
    """Every connection of a sending process."""

    def __init__(
        self,
        connections: Sequence[Connection],
        clock: Clock,
        metadata: Sequence[tuple[str, str]],
        deadline_s: float,
    ) -> None:
        self._connections = connections
        self._now_ns = clock.now_ns
        self._metadata = tuple(metadata) or None
        self._deadline_s = deadline_s
        self._readers = ThreadPoolExecutor(MAX_STREAMS, thread_name_prefix="stream")

    def send(self, call: Call, then: Then) -> None:
        """Send now; `then` hears of the end, on another thread or, if it ended at once, on this."""
        self._send(call, then, self._deadline_s)

    def ask(self, payload: Payload, deadline_s: float) -> Call:
        """Make one call on the first connection, outside any schedule, and wait for its end."""
        ended: SimpleQueue[Call] = SimpleQueue()
        self._send(Call(payload), ended.put, deadline_s)
        return ended.get()

    def close(self) -> None:
        """Close every connection."""
        for connection in self._connections:
            connection.close()
        self._readers.shutdown()

    def _send(self, call: Call, then: Then, deadline_s: float) -> None:
        payload = call.payload
        connection = self._connections[call.connection]
        options = {"timeout": deadline_s, "metadata": self._metadata}
        if payload.kind == "stream":
            method = connection.stream(payload.method)
            call.sent_ns = self._now_ns()
            stream = method(iter(payload.messages), **options)
            self._readers.submit(self._read, stream, call, then)
            return
        method = connection.unary(payload.method)
        call.sent_ns = self._now_ns()
        method.future(payload.messages[0], **options).add_done_callback(
            partial(self._ended, call, then)
        )

    def _ended(self, call: Call, then: Then, future: Any) -> None:  # noqa: ANN401  (private class)
        call.done_ns = call.first_ns = self._now_ns()
        code = future.code()
        if code is grpc.StatusCode.OK:
            call.messages = (future.result(),)
            call.trailing = future.trailing_metadata() or ()
        else:
            call.code = code.value[0]
            call.detail = future.details() or ""
        then(call)

    def _read(self, stream: Any, call: Call, then: Then) -> None:  # noqa: ANN401  (private class)
        """Read until the end; gRPC sends the messages on a thread of its own."""
        messages: list[bytes] = []
        try:
            for message in stream:
                if not messages:
                    call.first_ns = self._now_ns()
                messages.append(message)
        except grpc.RpcError:
            call.code = stream.code().value[0]
            call.detail = stream.details() or ""
        call.done_ns = self._now_ns()
        call.first_ns = call.first_ns or call.done_ns
        call.messages = messages
        call.trailing = stream.trailing_metadata() or ()
        then(call)
