"""One connection to the server under test: bytes out, bytes and a status in.

Knows gRPC and the wire format of the answer. Keeps no time and no record.
"""

from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from loadtest.record import MISSING
from protos.heed.v1 import text_pb2

EMBED = "/heed.v1.TextService/Embed"

# Not gRPC codes: the call ended OK, but with something else than one vector per text.
WRONG_ANSWER = 100

# Without a subchannel pool of its own, every channel to one address shares one TCP connection.
CHANNEL_OPTIONS: dict[str, int] = {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.max_receive_message_length": 64 << 20,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call ended. `body` is empty unless the code is OK."""

    code: int
    detail: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the answer says: its code after checking, tokens, and the server's own timings."""

    code: int
    tokens: int = 0
    tokenize_ns: int = MISSING
    queue_ns: int = MISSING
    run_ns: int = MISSING
    total_ns: int = MISSING


class Client:
    """A channel of its own with one method. Close it when the run is over."""

    def __init__(self, target: str, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._channel = grpc.insecure_channel(target, options=list(CHANNEL_OPTIONS.items()))
        # No serializers: bytes were built before the run, and parsing waits until the clock
        # has been read.
        self._embed: grpc.UnaryUnaryMultiCallable[Any, Any] = self._channel.unary_unary(EMBED)

    def embed(self, body: bytes) -> Answer:
        """Send one request and wait, this greenlet only, for its end."""
        try:
            return Answer(0, "", self._embed(body, timeout=self._deadline_s))
        except grpc.RpcError as error:
            # The sync stub raises a Call as well; the type stubs know only the error half.
            code: grpc.StatusCode = error.code()
            return Answer(code.value[0], error.details() or "", b"")

    def close(self) -> None:
        """Give the connection back."""
        self._channel.close()


def read(answer: Answer, texts: int) -> Outcome:
    """Return what an answer to so many texts says."""
    if answer.code != 0:
        return Outcome(answer.code)
    try:
        response = text_pb2.EmbedResponse.FromString(answer.body)
    except DecodeError:
        return Outcome(WRONG_ANSWER)
    if len(response.embeddings) != texts or not all(e.values for e in response.embeddings):
        return Outcome(WRONG_ANSWER)
    tokens = sum(embedding.num_tokens for embedding in response.embeddings)
    if not response.HasField("timings"):
        return Outcome(0, tokens)
    timings = response.timings
    return Outcome(
        0, tokens, timings.tokenize_ns, timings.queue_ns, timings.run_ns, timings.total_ns
    )


def code_name(code: int) -> str:
    """Return the name of a recorded code, as gRPC writes it."""
    if code == WRONG_ANSWER:
        return "WRONG_ANSWER"
    names = {status.value[0]: status.name for status in grpc.StatusCode}
    return names.get(code, f"CODE_{code}")
