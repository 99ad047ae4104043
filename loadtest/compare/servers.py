"""Servers that a comparison starts itself: a command each, on a free port, ended with it."""

import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, Self

from loadtest.errors import RunFailed

PORT: Final = "{port}"
_HOST: Final = "127.0.0.1"
_LOOK_EVERY_S: Final = 0.1
_STOP_S: Final = 15.0
_LAST_LINES: Final = 5


class Server:
    """A process that serves on a port of this machine; ended at the end of the block."""

    def __init__(self, side: str, command: str, folder: Path) -> None:
        """Choose the port; what the process prints goes into the folder."""
        if PORT not in command:
            raise RunFailed(
                f"--{side.lower()}-command has no {PORT}: write it where the command takes its port"
            )
        self.port = _free_port()
        self.target = f"{_HOST}:{self.port}"
        self._side = side
        self._words = shlex.split(command.replace(PORT, str(self.port)))
        self._log = folder / f"{side.lower()}-server.log"
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        """Start it.

        Raises:
            RunFailed: there is no such program.
        """
        with self._log.open("wb") as log:
            try:
                # In a group of its own: Ctrl-C is ours to pass on, and its children end with it.
                self._process = subprocess.Popen(  # noqa: S603  the user's own command
                    self._words, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
            except OSError as error:
                raise RunFailed(
                    f"--{self._side.lower()}-command {self._words[0]}: {error.strerror}"
                ) from error
        return self

    @property
    def pid(self) -> int:
        """The process to watch."""
        return self._process.pid

    def await_listening(self, until_s: float) -> None:
        """Wait until its port takes connections; `until_s` is on the monotonic clock.

        Raises:
            RunFailed: it ended, or it is not listening by then.
        """
        while not _listens(self.port):
            self.check()
            if time.monotonic() > until_s:
                raise RunFailed(self._said(f"does not listen on port {self.port}"))
            time.sleep(_LOOK_EVERY_S)

    def check(self) -> None:
        """Make sure that it still runs.

        Raises:
            RunFailed: it does not.
        """
        code = self._process.poll()
        if code is not None:
            raise RunFailed(self._said(f"ended with exit code {code}"))

    def _said(self, what: str) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = " | ".join(lines[-_LAST_LINES:])
        return f"the server of {self._side} {what}; see {self._log}{f': {last}' if last else ''}"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it and its children."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that no server is left behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  (the system's)
        # Raising here would raise in whatever greenlet happens to run.
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def await_answers(server: Server, knock: Callable[[], object], until_s: float) -> None:
    """Wait until a short run goes well: a server may listen before its model is loaded.

    Raises:
        RunFailed: the last reason why not, when the time is over or the server has ended.
    """
    server.await_listening(until_s)
    while True:
        try:
            knock()
        except RunFailed:
            server.check()
            if time.monotonic() > until_s:
                raise
            time.sleep(_LOOK_EVERY_S)
        else:
            return


def _free_port() -> int:
    with closing(socket.socket()) as trial:
        trial.bind((_HOST, 0))
        return int(trial.getsockname()[1])


def _listens(port: int) -> bool:
    with closing(socket.socket()) as trial:
        trial.settimeout(1)
        return trial.connect_ex((_HOST, port)) == 0
