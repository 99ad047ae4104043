"""Open a bundle in a child process before it may touch a running server.

ONNX Runtime can crash on a file whose digest is right. The child opens, warms up and ends; whatever
happens to it, the server that asked goes on.
"""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from server.config import ENV_PREFIX, ServerConfig
from server.errors import BundleCorrupt
from server.metrics import Metrics
from server.options import as_flags
from server.repository.bundle import open_bundle
from server.tasks.model import load

LIMIT_S = 300.0
"""For opening and two runs; gigabytes from a cold disk fit."""
NICENESS = 10
"""The child takes what a running server leaves over."""
MAX_REASON = 2000
"""Characters of what a child said that go into an answer."""


async def probe(bundle: Path, config: ServerConfig, limit_s: float = LIMIT_S) -> None:
    """Return when a child process has opened and warmed up the bundle.

    The child is ended when the caller is cancelled.

    Raises:
        BundleCorrupt: says what the child said, which signal ended it, or that it took too long.
    """
    child = await asyncio.create_subprocess_exec(
        *command(bundle, config),
        env={name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(limit_s):
            _, said = await child.communicate()
    except TimeoutError:
        raise BundleCorrupt(
            f"{bundle}: a child process did not open it within {limit_s:.0f} s; "
            "the running versions go on serving"
        ) from None
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    reason = describe_end(child.returncode or 0, said.decode(errors="replace"))
    if reason:
        raise BundleCorrupt(f"{bundle}: {reason}" if str(bundle) not in reason else reason)


def open_one(bundle: Path, config: ServerConfig) -> None:
    """Open one bundle as a server would, run it, and close it again: what the child does.

    Raises:
        ServeError: it cannot be served.
    """
    os.nice(NICENESS)
    load(open_bundle(bundle), config, Metrics()).close()


def command(bundle: Path, config: ServerConfig) -> list[str]:
    """Return the command that opens one bundle as a server with this configuration would."""
    return [sys.executable, "-m", "server", "check", "--one", str(bundle), *as_flags(config)]


def describe_end(status: int, said: str) -> str:
    """Return why a child failed, from its exit status and its standard error; empty if it did not.

    A negative status is the signal that ended it, as `asyncio.subprocess` has it.
    """
    if status == 0:
        return ""
    lines = [line.removeprefix("heed-serve: ") for line in said.strip().splitlines()]
    words = "\n".join(lines)[-MAX_REASON:]
    if status < 0:
        crash = f"opening it ended a child process with {_signal_name(-status)}; export it again"
        return f"{crash}\n{words}".strip()
    return words or f"opening it ended a child process with status {status}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
