"""A request ready to send, and what its answer said: the words of sender and calls."""

from dataclasses import dataclass
from typing import Literal

from loadtest.record.row import MISSING

Kind = Literal["unary", "stream"]
"""`stream`: all messages are sent, then answers are read until the end."""


@dataclass(frozen=True, slots=True)
class Promise:
    """An output of ModelInfer that the model's metadata names."""

    name: str
    rows: int
    """Its first dimension in the answer; -1 where only the server knows."""
    is_certain: bool
    """Every answer has it. Some servers leave out what was not asked for by name."""


@dataclass(frozen=True, slots=True)
class Payload:
    """One call as the bytes that go on the wire."""

    request: int
    """Which of the scenario's requests."""
    method: str
    """Full name, `/package.Service/Method`."""
    kind: Kind
    messages: tuple[bytes, ...]
    """One for unary calls."""
    texts: int
    """Texts, candidates or rows that an answer must cover."""
    outputs: tuple[Promise, ...] = ()
    """Of ModelInfer."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an answer says: its code after checking, its tokens, the server's own account."""

    code: int
    tokens: int = 0
    tokenize_ns: int = MISSING
    queue_ns: int = MISSING
    run_ns: int = MISSING
    total_ns: int = MISSING
    batch_sequences: int = MISSING
    batch_tokens: int = MISSING
