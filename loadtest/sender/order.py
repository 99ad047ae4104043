"""What a sending process is told, and how it answers. Knows neither gRPC nor Locust.

The process is `python -m loadtest.sender`. On its standard input it reads an `Order` as one line
of JSON, then a `Start`, then perhaps a `Stop`; the end of the input means that its parent is gone
and stops it too. On its standard output it writes frames: one byte that says what it is, the
length of the rest as four bytes little-endian, the rest.

    READY   JSON `Ready`: connected, one call of every kind answered, schedule and bodies built
    CALLS   rows of `record.row.ROW`, about ten times a second
    PROBES  pairs of int64: instant, how late the timer fired (ns)
    DONE    JSON `Done`, the last frame of a run that began
    FAILED  JSON `Failed`, the last frame of one that could not, or whose generator broke

`Start` names instant 0 on this machine's monotonic clock, so that several processes share it.
"""

import struct
from collections.abc import Callable
from typing import Final

import msgspec

from loadtest.scenario.schema import AnyScenario

READY: Final = b"R"
CALLS: Final = b"C"
PROBES: Final = b"P"
DONE: Final = b"D"
FAILED: Final = b"F"

_HEADER: Final = struct.Struct("<cI")


class Security(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the server. Contents, not paths: another machine has no such file."""

    is_tls: bool = False
    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    # The name in the server's certificate, where it is not the address.
    server_name: str | None = None
    # Sent with every call; an API key goes here.
    metadata: tuple[tuple[str, str], ...] = ()


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One worker's part of a run. The scenario carries its trace and lengths with it."""

    scenario: AnyScenario
    target: str
    model: str
    # This one takes the calls whose index leaves `worker` when divided by `workers`.
    worker: int = 0
    workers: int = 1
    security: Security = Security()
    # Take real-time priority where calls have instants and the system allows it.
    wants_realtime: bool = True


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Instant 0, ns on CLOCK_MONOTONIC."""

    at_ns: int


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Send nothing more; wait for what is in flight."""

    reason: str


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """Everything is prepared."""

    payloads: int
    connections: int
    channel_options: dict[str, int]
    # None where the server decides how many.
    scheduled: int | None
    # It has real-time priority.
    is_realtime: bool = False


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The last call has ended."""

    # When the measured time began and ended, since instant 0. Before `end_ns` only when stopped.
    measured_from_ns: int
    end_ns: int
    # Why it ended before its time; empty when it did not.
    stopped: str
    # CPU seconds of this process from instant 0 to the end.
    cpu_s: float
    most_in_flight: int
    # Texts of what failed, the first few of each code.
    errors: dict[str, int]


class Failed(msgspec.Struct, frozen=True):
    """What a person must change, as `RunFailed` has it."""

    reason: str


def frame(kind: bytes, body: bytes) -> bytes:
    """Return a frame."""
    return _HEADER.pack(kind, len(body)) + body


def read_frame(read: Callable[[int], bytes]) -> tuple[bytes, bytes] | None:
    """Return the next frame's kind and body, None at the end; `read` gives n bytes or less."""
    header = _exactly(read, _HEADER.size)
    if len(header) < _HEADER.size:
        return None
    kind, size = _HEADER.unpack(header)
    body = _exactly(read, size)
    return (kind, body) if len(body) == size else None


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    parts, missing = [], size
    while missing and (part := read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
