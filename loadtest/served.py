"""The real server in a process of its own, on free ports of this machine.

For demonstrations, benchmarks and tests: starts the command, waits for its ready line, and makes
sure that the process is gone afterwards. Knows the command line and nothing of what is behind it.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

READY = "heed ready "
STOP_S = 60


class StartFailed(Exception):
    """The server ended before it was ready; the text is what it said."""


@dataclass(frozen=True)
class Served:
    """A server that takes traffic."""

    process: subprocess.Popen[str]
    address: str
    """gRPC, HOST:PORT."""
    ops: str
    """Metrics and probes, HOST:PORT."""
    log: Path

    def stop(self) -> int:
        """Ask the server to drain, unless it has ended, and return its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(STOP_S)


def command(models: Path, *options: str) -> list[str]:
    """Return the command that serves a repository on free ports."""
    free = ("--models", str(models), "--port", "0", "--ops-port", "0")
    return [sys.executable, "-m", "server", *free, *options]


@contextmanager
def serve(models: Path, log: Path, *options: str) -> Iterator[Served]:
    """Start a server on a repository and yield it when it is ready.

    Raises:
        StartFailed: it ended instead.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("w", encoding="utf-8") as stderr,
        subprocess.Popen(  # noqa: S603  (our own command)
            command(models, *options), stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None, "it was piped above"
            line = process.stdout.readline()
            if not line.startswith(READY):
                raise StartFailed(f"the server did not start: {log.read_text(encoding='utf-8')}")
            addresses = dict(part.split("=", 1) for part in line.removeprefix(READY).split())
            yield Served(process, addresses["grpc"], addresses["ops"], log)
        finally:
            if process.poll() is None:
                process.kill()
