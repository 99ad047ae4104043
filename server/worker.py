"""One worker: a whole server in a process of its own, started, listened to, asked and stopped.

Knows one process and nothing of when it is to be started again.
"""

import asyncio
import ctypes
import http.client
import logging
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from server.config import ENV_PREFIX, ServerConfig
from server.options import as_flags

log = logging.getLogger(__name__)

READY = b"heed ready "
COMPLAINT = "heed-serve: "
"""How the command line begins a line that says why it gave up."""

MAX_LINE_BYTES = 1 << 20
ASK_S = 2.0
"""How long a worker may take to answer its metrics or readiness."""

LAST_WORDS_S = 1.0

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent ends."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended."""

    status: int
    was_ready: bool
    complaints: tuple[str, ...]
    """What it said about why it could not serve."""


class Worker:
    """A process with its own cores. Used from one event loop; `ask` may come from any thread."""

    def __init__(self, index: int, config: ServerConfig, cores: Sequence[int]) -> None:
        self.index = index
        self.is_ready = asyncio.Event()
        self._ops: tuple[str, int] | None = None
        self._command = [sys.executable, "-m", "server", *as_flags(config)]
        self._cores = cores
        self._process: asyncio.subprocess.Process | None = None
        self._is_stopped = False

    async def run(self) -> Ended:
        """Run the process from start to end. It sets `is_ready` in between."""
        self._process = process = await asyncio.create_subprocess_exec(
            *self._command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=MAX_LINE_BYTES,
            env={
                name: value
                for name, value in os.environ.items()
                if not name.startswith(ENV_PREFIX)  # the flags hold all of it
            },
            # Ctrl-C reaches a whole process group, and the parent passes every signal on itself.
            start_new_session=True,
            preexec_fn=_prepare(self._cores),
        )
        if self._is_stopped:
            process.terminate()
        assert process.stdout is not None
        assert process.stderr is not None
        complaints: list[str] = []
        readers = [
            asyncio.create_task(self._watch_output(process.stdout)),
            asyncio.create_task(self._relay(process.stderr, complaints)),
        ]
        try:
            status = await process.wait()
            # What it said last is read to the end, unless a child of its own keeps the pipe open.
            await asyncio.wait(readers, timeout=LAST_WORDS_S)
        finally:
            for reader in readers:
                reader.cancel()
            was_ready = self.is_ready.is_set()
            self.is_ready.clear()
            self._ops = None
            self._process = None
        return Ended(status, was_ready, tuple(complaints))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal to the process, or to the one that is just being started."""
        self._is_stopped = True
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    def ask(self, path: str) -> tuple[int, str]:
        """Return status and body of a path of its ops port; status 0 when it does not answer."""
        address = self._ops
        if address is None:
            return 0, ""
        connection = http.client.HTTPConnection(*address, timeout=ASK_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""  # it ends, or hangs: callers report it as not ready
        finally:
            connection.close()

    @property
    def takes_traffic(self) -> bool:
        """Whether the process says that it is ready now."""
        return self.ask("/readyz")[0] == HTTPStatus.OK

    async def _watch_output(self, output: asyncio.StreamReader) -> None:
        async for line in _lines(output):
            if line.startswith(READY):
                found = re.search(rb"ops=(\S+):(\d+)", line)
                assert found is not None, "the ready line names the ops port"
                self._ops = found[1].decode(), int(found[2])
                self.is_ready.set()

    async def _relay(self, errors: asyncio.StreamReader, complaints: list[str]) -> None:
        """Pass its log on with its number in each line; keep what it says about giving up."""
        async for line in _lines(errors):
            text = line.decode("utf-8", "replace").rstrip("\n")
            if text.startswith(COMPLAINT):
                complaints.append(text.removeprefix(COMPLAINT))
                continue
            if text.startswith('{"'):
                text = f'{{"worker": {self.index}, {text[1:]}'
            print(text, file=sys.stderr, flush=True)


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        try:
            line = await stream.readline()
        except ValueError:
            log.warning("a line of a worker's log was too long and is lost")
            continue
        if not line:
            return
        yield line


def _prepare(cores: Sequence[int]) -> Callable[[], None]:
    """Return what the new process does to itself before it becomes a server."""
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def prepare() -> None:
        # Workers without a parent would hold the port and nobody would watch them.
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)  # it ended before the line above
        os.sched_setaffinity(0, cores)

    return prepare
