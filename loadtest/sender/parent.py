"""What the parent says, heard on a thread of its own while the run goes on."""

import os
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import BinaryIO

import msgspec

from loadtest.sender.order import Order, Start, Stop

ORPHANED = 3
"""Exit code of a process whose parent is gone."""


class Parent:
    """The other end of standard input. Its end means that the parent is gone, and ends the process.

    At once and without ceremony: there is nobody to send for, and nobody to tell.
    """

    def __init__(self, lines: BinaryIO) -> None:
        """Read the order.

        Raises:
            msgspec.ValidationError: the first line is none.
        """
        self._lines = lines
        self.order = msgspec.json.decode(self._line(), type=Order)
        self._lock = Lock()
        self._start: Start | None = None
        self._stop: Stop | None = None
        self._on_stop: Callable[[str], None] | None = None
        self._is_decided = Event()
        Thread(target=self._listen, name="parent", daemon=True).start()

    def await_start(self) -> Start | None:
        """Wait for the word; None when it was to stop."""
        self._is_decided.wait()
        return self._start

    def tell_of_stop(self, on_stop: Callable[[str], None]) -> None:
        """Call it with the reason when the parent says so, now if it has."""
        with self._lock:
            self._on_stop = on_stop
            if self._stop is not None:
                on_stop(self._stop.reason)

    def _listen(self) -> None:
        while True:
            try:
                self._obey(msgspec.json.decode(self._line(), type=Start | Stop))
            except msgspec.DecodeError as error:
                self._obey(Stop(f"the parent sent what is no command: {error}"))

    def _obey(self, command: Start | Stop) -> None:
        with self._lock:
            if isinstance(command, Start):
                self._start = command
            else:
                self._stop = command
                if self._on_stop is not None:
                    self._on_stop(command.reason)
        self._is_decided.set()

    def _line(self) -> bytes:
        line = self._lines.readline()
        if not line.endswith(b"\n"):
            os._exit(ORPHANED)
        return line
