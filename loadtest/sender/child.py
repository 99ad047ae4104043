"""The parent's side of a sending process. Works in a plain process and in a gevent one.

The sender is another process with an interpreter of its own, so nothing that patches this one
reaches it; here only pipes are written and read, which gevent's `subprocess` does as well.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import msgspec
import numpy as np

from loadtest.errors import RunFailed
from loadtest.record.row import ROW, Column, Rows
from loadtest.sender import order
from loadtest.sender.order import Done, Failed, Order, Ready, Start, Stop

# How long one may take to end once its input has ended; it does so at once.
_END_S = 5.0
_STDERR_TAIL_BYTES = 2000


@dataclass(frozen=True, eq=False)
class Probes:
    """How late timers of the sending process fired; equally long columns."""

    at_ns: Column
    lag_ns: Column


class Child:
    """One sending process. No thread of its own: `ready` and `frames` wait, the rest returns."""

    def __init__(self, what: Order) -> None:
        """Start it; it begins to connect and to build."""
        # A file, because a pipe that nobody reads would stop the process when it is full.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  close() closes it
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loadtest.sender"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        self._say(what)

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def ready(self) -> Ready:
        """Wait until it has connected, built and asked the server once.

        Raises:
            RunFailed: it cannot do what it was told; the text says what to change.
        """
        kind, body = self._frame()
        if kind != order.READY:
            raise RunFailed(f"the sending process answered {kind!r} before it was ready")
        return msgspec.json.decode(body, type=Ready)

    def start(self, at_ns: int) -> None:
        """Name instant 0, on CLOCK_MONOTONIC."""
        self._say(Start(at_ns))

    def stop(self, reason: str) -> None:
        """Let it send nothing more; its last frames still come. Does nothing once it has ended."""
        self._say(Stop(reason))

    def frames(self) -> Iterator[Rows | Probes | Done]:
        """Yield what it records as it comes; `Done` is the last.

        Raises:
            RunFailed: it broke or died.
        """
        while True:
            kind, body = self._frame()
            if kind == order.CALLS:
                yield np.frombuffer(body, ROW)
            elif kind == order.PROBES:
                pairs = np.frombuffer(body, "<i8").reshape(-1, 2)
                yield Probes(pairs[:, 0], pairs[:, 1])
            elif kind == order.DONE:
                yield msgspec.json.decode(body, type=Done)
                return
            else:
                raise RunFailed(f"the sending process answered {kind!r} in a run")

    def close(self) -> None:
        """See to it that it ends; calls still in flight are dropped."""
        # The end of its input ends it.
        with suppress(OSError):
            self._input.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()
        self._stderr.close()

    def _say(self, command: Order | Start | Stop) -> None:
        # One that is gone has left its reason in its last frame or in how it died: see `_frame`.
        with suppress(OSError, ValueError):
            self._input.write(msgspec.json.encode(command) + b"\n")
            self._input.flush()

    def _frame(self) -> tuple[bytes, bytes]:
        frame = order.read_frame(self._output.read)
        if frame is None:
            raise RunFailed(f"the sending process {self._how_it_died()}")
        kind, body = frame
        if kind == order.FAILED:
            raise RunFailed(msgspec.json.decode(body, type=Failed).reason)
        return kind, body

    def _how_it_died(self) -> str:
        """Its output has ended, so it is about to as well."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        code = self._process.returncode
        size = self._stderr.seek(0, 2)
        self._stderr.seek(max(0, size - _STDERR_TAIL_BYTES))
        said = self._stderr.read().decode(errors="replace").strip()
        ended = "closed its output" if code is None else f"ended with code {code}"
        return f"{ended} in the middle; it wrote: {said or 'nothing'}"
