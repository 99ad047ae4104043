"""heed-load and its stub server as processes of their own, for whole runs."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
STUB = ROOT / "tests" / "integration" / "load_stub.py"
VALID, FAILED, USAGE, INVALID, OVER = range(5)


@dataclass
class Result:
    code: int
    output: str
    errors: str


@dataclass
class Running:
    """A command while it runs, and everything that it has written to its standard error."""

    process: asyncio.subprocess.Process
    said: str = ""

    async def saying(self, text: str) -> None:
        """Wait until a line of standard error has the text in it."""
        assert self.process.stderr is not None
        while text not in self.said:
            line = await self.process.stderr.readline()
            assert line, f"ended without saying {text!r}: {self.said}"
            self.said += line.decode()

    async def end(self) -> Result:
        output, errors = await self.process.communicate()
        assert self.process.returncode is not None
        return Result(self.process.returncode, output.decode(), self.said + errors.decode())

    def interrupt(self) -> None:
        """Do what Ctrl-C in a terminal does: every process of the group gets the signal."""
        os.killpg(self.process.pid, signal.SIGINT)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def of(self, word: str) -> list[psutil.Process]:
        """Return the processes of the command that have a word in their command line."""
        return [process for process in self.family() if word in process.cmdline()]


@dataclass
class Stub:
    process: asyncio.subprocess.Process
    target: str

    async def hundredth_call(self) -> None:
        assert self.process.stdout is not None
        assert await self.process.stdout.readline() == b"call 100\n"

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


async def started(*arguments: str) -> Running:
    return Running(await start("-m", "loadtest", *arguments))


async def heed_load(*arguments: str) -> Result:
    return await (await started(*arguments)).end()


@asynccontextmanager
async def serving(*options: str) -> AsyncIterator[Stub]:
    process = await start(str(STUB), "--service-ms", "2", *options)
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    yield Stub(process, f"127.0.0.1:{port}")
    process.send_signal(signal.SIGCONT)
    process.kill()
    await process.communicate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def report(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return loaded


def broken(folder: Path) -> set[str]:
    """Return the rules of the verdict that did not hold."""
    return {reason["rule"] for reason in report(folder)["verdict"]["reasons"]}
