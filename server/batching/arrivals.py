"""A recording of when requests arrived and how large they were, for replay; never their texts.

One JSON object a line. The first says what the file is and when it began; a server that is started
again, and every worker, appends to the same file on the same clock. A thread of its own writes once
a second, so that a slow disk delays nobody.
"""

import fcntl
import logging
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic, time
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from server.errors import ConfigInvalid

log = logging.getLogger(__name__)

FORMAT: Final = 1
FLUSH_S = 1.0
MAX_UNWRITTEN = 1_000_000
"""Requests that may wait for the disk. At some 100 bytes each, a stuck disk costs 100 MB."""


class Beginning(msgspec.Struct, frozen=True):
    """The first line."""

    heed_arrivals: int
    """Version of the format."""
    began: float
    """Seconds since the epoch."""


class Arrival(msgspec.Struct, frozen=True, rename={"arrived_s": "t"}):
    """A request that came."""

    arrived_s: float
    """Since the recording began."""
    model: str
    lengths: Annotated[tuple[Annotated[int, Meta(ge=1)], ...], Meta(min_length=1)]
    """Tokens of each sequence, or 1 for each whole row."""
    priority: Annotated[int, Meta(ge=1)]
    """Level, 1 first."""
    deadline_s: float | None
    """From its arrival on; None when it had none."""


class Recorder:
    """Appends arrivals to a file. `record` may be called from any thread."""

    def __init__(self, path: Path) -> None:
        """Open or begin the recording.

        Raises:
            ConfigInvalid: the file cannot be written, or holds something else.
        """
        self._path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise ConfigInvalid(f"--record-arrivals {path}: {error.strerror}") from error
        try:
            began = _begin(self._file)
        except (OSError, msgspec.MsgspecError) as error:
            os.close(self._file)
            raise ConfigInvalid(
                f"--record-arrivals {path}: {error}; name a new file, or a recording to add to"
            ) from error
        self._zero = monotonic() - (time() - began)
        self._unwritten: deque[Arrival] = deque()
        self._is_open = True
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="arrivals", daemon=True)
        self._thread.start()

    def record(
        self, model: str, lengths: Sequence[int], priority: int, deadline_s: float | None
    ) -> None:
        """Note that a request came now."""
        if not self._is_open:
            return
        arrived_s = round(monotonic() - self._zero, 6)
        rounded = None if deadline_s is None else round(deadline_s, 6)
        self._unwritten.append(Arrival(arrived_s, model, tuple(lengths), priority, rounded))
        if len(self._unwritten) > MAX_UNWRITTEN:
            self._stop(f"{MAX_UNWRITTEN} requests waited for the disk")

    def of_model(self, model: str) -> Callable[[Sequence[int], int, float], None]:
        """Return what records the requests of one model, given their deadline as a moment."""

        def record(lengths: Sequence[int], priority: int, deadline: float) -> None:
            left_s = None if deadline == math.inf else deadline - monotonic()
            self.record(model, lengths, priority, left_s)

        return record

    def close(self) -> None:
        """Write what is left. Idempotent."""
        self._closing.set()
        self._thread.join()

    def _write_on(self) -> None:
        encoder = msgspec.json.Encoder()
        is_last = False
        while self._is_open and not is_last:
            is_last = self._closing.wait(FLUSH_S)
            arrivals = [self._unwritten.popleft() for _ in range(len(self._unwritten))]
            try:
                _append(self._file, b"".join(encoder.encode(one) + b"\n" for one in arrivals))
            except OSError as error:
                self._stop(str(error))
        self._is_open = False
        self._unwritten.clear()
        os.close(self._file)

    def _stop(self, reason: str) -> None:
        self._is_open = False
        log.warning(
            "arrivals are no longer recorded", extra={"file": str(self._path), "reason": reason}
        )


def read(path: Path) -> list[Arrival]:
    """Return the arrivals of a recording, in order of time.

    Raises:
        ConfigInvalid: the file cannot be read, or a line is not of a recording.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigInvalid(f"{path}: {error.strerror}") from error
    decoder = msgspec.json.Decoder(Arrival)
    number = 1
    try:
        _check(lines[0] if lines else b"")
        arrivals = []
        for number, line in enumerate(lines[1:], start=2):  # noqa: B007  (for the message)
            arrivals.append(decoder.decode(line))
    except msgspec.MsgspecError as error:
        raise ConfigInvalid(
            f"{path}, line {number}: {error}; record one with heed-serve --record-arrivals"
        ) from error
    return sorted(arrivals, key=lambda one: one.arrived_s)


def _begin(file: int) -> float:
    """Return when the recording began, by the wall clock; begin it where it is empty."""
    fcntl.flock(file, fcntl.LOCK_EX)  # several workers may find it empty at the same moment
    try:
        if os.fstat(file).st_size == 0:
            first = Beginning(FORMAT, time())
            _append(file, msgspec.json.encode(first) + b"\n")
            return first.began
        head = os.pread(file, 4096, 0).splitlines()
        return _check(head[0])
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _check(first: bytes) -> float:
    beginning = msgspec.json.decode(first, type=Beginning)
    if beginning.heed_arrivals != FORMAT:
        raise msgspec.ValidationError(
            f"a recording in format {beginning.heed_arrivals}, this server reads {FORMAT}"
        )
    return beginning.began


def _append(file: int, data: bytes) -> None:
    """Write everything; whole lines at once, so that workers do not cut into each other's."""
    while data:
        data = data[os.write(file, data) :]
