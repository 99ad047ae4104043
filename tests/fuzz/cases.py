"""Calls to make, each one a function of a seed and a number, over every method of every service."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from random import Random

from fuzz import tensors
from fuzz.messages import Author
from fuzz.wire import damage
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from protos import inference_pb2
from protos.heed.v1 import text_pb2

FILES: tuple[FileDescriptor, ...] = tuple(
    module.DESCRIPTOR for module in (inference_pb2, text_pb2, health_pb2, reflection_pb2)
)
DAMAGED = 0.5
"""Share of messages whose bytes are damaged after they were written."""
MAX_WEIGHT = 6
SELDOM = frozenset({"RepositoryModelLoad", "RepositoryModelUnload"})
"""Calls that take long when they succeed, and leave the others without models."""
SELDOM_WEIGHT, STREAM_WEIGHT = 0.5, 0.5


@dataclass(frozen=True)
class Method:
    """One call of one service."""

    path: str
    name: str
    descriptor: MethodDescriptor

    @property
    def is_stream(self) -> bool:
        return bool(self.descriptor.client_streaming)

    @property
    def answers_stream(self) -> bool:
        return bool(self.descriptor.server_streaming)

    @property
    def weight(self) -> float:
        if self.name in SELDOM:
            return SELDOM_WEIGHT
        if self.is_stream or self.answers_stream:
            return STREAM_WEIGHT
        return max(1, min(len(self.descriptor.input_type.fields), MAX_WEIGHT))


@dataclass(frozen=True)
class Case:
    """One call: what is sent, and when the caller loses interest."""

    number: int
    method: Method
    messages: tuple[bytes, ...]
    cancel: bool
    """At once for one message, after the first answer of a stream."""

    def __str__(self) -> str:
        return f"{self.method.path}:{','.join(message.hex() for message in self.messages)}"

    def parses(self) -> bool:
        """Return whether every message is one."""
        kind = GetMessageClass(self.method.descriptor.input_type)
        try:
            for message in self.messages:
                kind.FromString(message)
        except DecodeError:
            return False
        return True

    def holds_poison(self) -> bool:
        """Return whether damage has made up the number or word on which the tests' graphs fail."""
        if any(b"poison" in message for message in self.messages):
            return True
        if self.method.descriptor.input_type.full_name != "inference.ModelInferRequest":
            return False
        kind = inference_pb2.ModelInferRequest
        return self.parses() and any(
            tensors.holds_poison(kind.FromString(message)) for message in self.messages
        )


@cache
def methods() -> tuple[Method, ...]:
    return tuple(
        Method(f"/{service.full_name}/{method.name}", method.name, method)
        for file in FILES
        for service in file.services_by_name.values()
        for method in service.methods
    )


@cache
def _weights() -> tuple[float, ...]:
    return tuple(method.weight for method in methods())


def case(author: Author, seed: int, number: int) -> Case:
    """Return a case, which depends on nothing but the arguments."""
    random = Random(seed << 40 | number)  # noqa: S311  (no secret)
    method = random.choices(methods(), _weights())[0]
    count = random.choice((0, 1, 2, 3, 8)) if method.is_stream else 1
    messages = tuple(_message(author, random, method) for _ in range(count))
    return Case(number, method, messages, cancel=random.random() < 0.02)


def cases(author: Author, seed: int, first: int, count: int) -> Iterator[Case]:
    return (case(author, seed, number) for number in range(first, first + count))


def replayed(text: str) -> Case:
    """Return the case that was printed like this."""
    path, _, messages = text.partition(":")
    method = next(method for method in methods() if method.path == path)
    sent = messages.split(",") if messages or not method.is_stream else []
    return Case(0, method, tuple(map(bytes.fromhex, sent)), cancel=False)


def _message(author: Author, random: Random, method: Method) -> bytes:
    message = author.write(random, method.descriptor.input_type).SerializeToString()
    return damage(random, message) if random.random() < DAMAGED else message
