"""Sends cases as raw bytes over one channel, many at a time, and judges how each call ended."""

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Semaphore
from typing import Any

import grpc
from fuzz.cases import Case, Method
from fuzz.messages import Author, Model
from fuzz.tensors import Spec
from google.protobuf.message_factory import GetMessageClass
from loopback import Target

from protos import inference_pb2 as oip

IN_FLIGHT = 64
STREAMS = 4
"""Of those, streams, which cost a thread each."""
DEADLINE_S = 5.0
UNLIMITED: list[tuple[str, Any]] = [("grpc.max_receive_message_length", -1)]

CALLERS_FAULT = frozenset(
    {
        "OK", "CANCELLED", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
        "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "OUT_OF_RANGE", "UNIMPLEMENTED",
    }
)  # fmt: skip
CONTROL = frozenset({"RepositoryModelLoad", "RepositoryModelUnload"})
UNAVAILABLE = CONTROL | {"TraceSetting", "LogSettings", "ModelStatistics"}
"""Calls that the protocol answers so where what they ask for is turned off."""
INTERNAL = frozenset({"RepositoryModelLoad"})
"""Calls that the protocol answers so for a model that is not there or cannot be read."""
CODES = {code.value[0]: code.name for code in grpc.StatusCode}
UNFORESEEN = b"failed inside the server"
"""What the server says of its own mistakes, also inside the answers of a stream."""


@dataclass(frozen=True)
class Offence:
    """A call that ended as none may."""

    case: Case
    code: str
    detail: str


@dataclass
class Tally:
    """How the calls ended."""

    codes: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    """OK, by method."""
    offences: list[Offence] = field(default_factory=list)


class Campaign:
    """Cases against one server. Call `close` when done."""

    def __init__(self, target: Target, *, unloads: bool) -> None:
        self._unloads = unloads
        self._channel = grpc.insecure_channel(target.address, options=UNLIMITED)
        self._free = Semaphore(IN_FLIGHT)
        self._streams = ThreadPoolExecutor(STREAMS)
        self._calls: dict[str, Any] = {}
        self.tally = Tally()

    def close(self) -> None:
        self._streams.shutdown()
        self._channel.close()

    def run(self, cases: Iterable[Case]) -> None:
        """Send all and wait for the end of each."""
        for case in cases:
            self._free.acquire()
            if case.method.is_stream or case.method.answers_stream:
                self._streams.submit(self._stream, case).add_done_callback(self._streamed)
            else:
                self._unary(case)
        for _ in range(IN_FLIGHT):
            self._free.acquire()
        self._free.release(IN_FLIGHT)

    def _call(self, method: Method) -> Any:
        """Return the callable of a method, without serialisers."""
        if method.path not in self._calls:
            kind = {
                (False, False): self._channel.unary_unary,
                (False, True): self._channel.unary_stream,
                (True, True): self._channel.stream_stream,
                (True, False): self._channel.stream_unary,
            }[method.is_stream, method.answers_stream]
            self._calls[method.path] = kind(method.path)
        return self._calls[method.path]

    def _unary(self, case: Case) -> None:
        future = self._call(case.method).future(case.messages[0], timeout=DEADLINE_S)

        def ended(done: Any) -> None:
            code = done.code().name
            answer = done.result() if code == "OK" else b""
            self._judge(case, code, done.details() or "", [answer])
            self._free.release()

        future.add_done_callback(ended)
        if case.cancel:
            future.cancel()

    def _stream(self, case: Case) -> None:
        method = case.method
        sent: Any = iter(case.messages) if method.is_stream else case.messages[0]
        call = self._call(method)(sent, timeout=DEADLINE_S)
        answers = []
        try:
            for answer in call:
                answers.append(answer)
                # A stream to which one message is sent may never end by itself.
                if case.cancel or not method.is_stream:
                    call.cancel()
        except grpc.RpcError as error:
            del error  # the call itself knows how it ended
        self._judge(case, call.code().name, call.details() or "", answers)

    def _streamed(self, done: Any) -> None:
        self._free.release()
        done.result()

    def _judge(self, case: Case, code: str, detail: str, answers: Sequence[bytes]) -> None:
        tally = self.tally
        tally.codes[code] += 1
        tally.answered[case.method.path] += code == "OK"
        if any(UNFORESEEN in answer for answer in answers):
            tally.offences.append(Offence(case, code, str(answers)))
        for ended, why in ((code, detail), *_failures(case.method, answers)):
            if not self._is_legal(case, ended):
                tally.offences.append(Offence(case, ended, why))

    def _is_legal(self, case: Case, code: str) -> bool:
        if code in CALLERS_FAULT:
            return True
        name = case.method.name
        if code == "UNAVAILABLE":
            # A version that exists and was unloaded is not ready.
            return self._unloads or name in UNAVAILABLE
        may_fail = (self._unloads and name in INTERNAL) or case.holds_poison()
        return code == "INTERNAL" and may_fail


def _failures(method: Method, answers: Sequence[bytes]) -> list[tuple[str, str]]:
    """Return code and reason of the messages of a stream that failed without ending it."""
    if "failure" not in method.descriptor.output_type.fields_by_name:
        return []
    kind: Any = GetMessageClass(method.descriptor.output_type)
    read = [kind.FromString(answer) for answer in answers]
    return [
        (CODES[one.failure.code], one.failure.message) for one in read if one.HasField("failure")
    ]


def author_for(target: Target) -> Author:
    """Return who writes messages for the models that a server has."""
    with target.inference() as stub:
        entries = stub.RepositoryIndex(oip.RepositoryIndexRequest()).models
        described = [
            (
                stub.ModelMetadata(oip.ModelMetadataRequest(name=entry.name)),
                stub.ModelConfig(oip.ModelConfigRequest(name=entry.name)).config.parameters,
            )
            for entry in entries
        ]
    return Author(
        [
            Model(
                metadata.name,
                facts["task"].string_value,
                [Spec(one.name, one.datatype, tuple(one.shape)) for one in metadata.inputs],
            )
            for metadata, facts in described
        ]
    )
