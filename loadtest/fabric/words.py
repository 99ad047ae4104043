"""What a run's conductor and the owners of its senders tell each other, and how it travels.

In one process the values are handed over as they are; between Locust's master and its workers
they are msgpack in one kind of Locust message, every one marked with the run that it belongs to.
"""

import zlib
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from loadtest.record.row import ROW, Column, Rows
from loadtest.sender.order import Done, Order, Ready

MESSAGE: Final = "heed"
"""Locust's name for all of our messages, both ways."""
ANY_RUN: Final = -1
"""For news from a worker that could not read what it was told."""
INTERRUPTED: Final = "interrupted from the keyboard"
"""The disturbance of a run that Ctrl-C ended. A fabric does no further run after it."""
MOST_ROWS: Final = 8192
"""In one message: about a megabyte before compression."""
# Level 1 leaves 40 % of the rows' bytes at 95 MB/s, level 6 leaves 36 % at 20 (measured).
_LEVEL: Final = 1


class Foreign(ValueError):
    """The bytes are not a message of this version."""


class Take(msgspec.Struct, frozen=True, tag=True):
    """Prepare a sender for this order (JSON, compressed)."""

    order: bytes

    @classmethod
    def of(cls, order: Order) -> "Take":
        """Pack an order."""
        return cls(zlib.compress(msgspec.json.encode(order), _LEVEL))

    def unpack(self) -> Order:
        """Return the order.

        Raises:
            Foreign: it comes from another version.
        """
        try:
            return msgspec.json.decode(zlib.decompress(self.order), type=Order)
        except (msgspec.DecodeError, zlib.error) as error:
            raise Foreign(str(error)) from error


class Ping(msgspec.Struct, frozen=True, tag=True):
    """Say what your clock shows."""

    trip: int


class Begin(msgspec.Struct, frozen=True, tag=True):
    """Instant 0, ns on the monotonic clock of whoever reads this."""

    at_ns: int


class Halt(msgspec.Struct, frozen=True, tag=True):
    """Send nothing more; wait for what is in flight."""

    reason: str


class Prepared(msgspec.Struct, frozen=True, tag=True):
    """A sender waits for instant 0."""

    ready: Ready
    host: str
    # Of the sender, and of the Locust process that owns it.
    pid: int
    owner: int


class Pong(msgspec.Struct, frozen=True, tag=True):
    """The monotonic clock as this was written."""

    trip: int
    at_ns: int


class Ended(msgspec.Struct, frozen=True, tag=True):
    """The sender's last call has ended; `rows` is how many it told of, to notice a lost message."""

    done: Done
    rows: int


class Broken(msgspec.Struct, frozen=True, tag=True):
    """The sender could not begin, or broke."""

    reason: str


@dataclass(frozen=True)
class Batch:
    """Calls that have ended, and pairs (instant, lateness) of the sender's timer, both in ns."""

    rows: Rows
    probes: Column


class Packed(msgspec.Struct, frozen=True, tag=True):
    """A batch on its way."""

    rows: bytes
    probes: bytes


Command = Take | Ping | Begin | Halt
News = Prepared | Pong | Batch | Ended | Broken
_Wire = Take | Ping | Begin | Halt | Prepared | Pong | Ended | Broken | Packed


class _Envelope(msgspec.Struct, frozen=True):
    run: int
    word: _Wire


def encode(run: int, word: Command | News) -> dict[str, bytes]:
    """Return the data of Locust's message for a word that belongs to a run."""
    wire = _pack(word) if isinstance(word, Batch) else word
    return {"word": msgspec.msgpack.encode(_Envelope(run, wire))}


def command(data: dict[str, bytes]) -> tuple[int, Command]:
    """Return the run and the command of a message to a worker.

    Raises:
        Foreign: it comes from another version.
    """
    run, word = _decode(data)
    if isinstance(word, Command):
        return run, word
    raise Foreign(f"{type(word).__name__} is no command")


def news(data: dict[str, bytes]) -> tuple[int, News]:
    """Return the run and the news of a message to a master.

    Raises:
        Foreign: it comes from another version.
    """
    run, word = _decode(data)
    if isinstance(word, Packed):
        return run, _unpack(word)
    if isinstance(word, News):
        return run, word
    raise Foreign(f"{type(word).__name__} is no news")


def _decode(data: dict[str, bytes]) -> tuple[int, _Wire]:
    try:
        envelope = msgspec.msgpack.decode(data["word"], type=_Envelope)
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise Foreign(str(error)) from error
    return envelope.run, envelope.word


def _pack(batch: Batch) -> Packed:
    return Packed(
        zlib.compress(batch.rows.tobytes(), _LEVEL),
        zlib.compress(batch.probes.astype("<i8").tobytes(), _LEVEL),
    )


def _unpack(packed: Packed) -> Batch:
    try:
        rows = np.frombuffer(zlib.decompress(packed.rows), ROW)
        probes = np.frombuffer(zlib.decompress(packed.probes), "<i8").reshape(-1, 2)
    except (zlib.error, ValueError) as error:
        raise Foreign(str(error)) from error
    return Batch(rows, probes)
