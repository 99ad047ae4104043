"""The two sides of a physics test: the stub as a process, and heed-load as a command."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.record.calls import Calls, load

ROOT = Path(__file__).parents[1]
STUB = ROOT / "tests" / "integration" / "load_stub.py"
VALID, INVALID = 0, 3
SPIN = """
import os
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
while True:
    pass
"""


@dataclass
class Stub:
    """The stub while it serves."""

    process: "subprocess.Popen[str]"
    target: str
    record: Path

    def announced_call(self) -> None:
        """Wait until the stub has had the call that it announces."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith("call ")

    def stall(self, seconds: float) -> float:
        """Stop the process for a time; return how long it was."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)  # the stall itself
        self.process.send_signal(signal.SIGCONT)
        return time.monotonic() - begun

    def arrivals_ns(self, calls: int) -> np.ndarray:
        """End it; return when the last so many calls arrived. Those before were first checks."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        with np.load(self.record) as recorded:
            arrived: np.ndarray = recorded["arrived_ns"]
        assert len(arrived) >= calls
        return arrived[-calls:]


def cores() -> tuple[set[int], set[int]]:
    """Return the cores of the stub and those of heed-load: apart where there are two or more."""
    mine = sorted(os.sched_getaffinity(0))
    return ({mine[0]}, set(mine[1:])) if len(mine) > 1 else (set(mine), set(mine))


@contextmanager
def _kept_to(which: set[int] | None) -> Iterator[None]:
    """Let processes that are started inside inherit these cores."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, which or mine)
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)


@contextmanager
def awake() -> Iterator[None]:
    """Keep every core from halting, as `idle=poll` does.

    A virtual core that halts is given back to the hypervisor, and a timer that should wake it was
    seen to be 1 to 3 ms late at p99 with nothing else running. Whatever else wants the core has it
    at once.
    """
    spinners = []
    for core in os.sched_getaffinity(0):
        with _kept_to({core}):
            spinners.append(subprocess.Popen([sys.executable, "-c", SPIN]))
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


@contextmanager
def stub(folder: Path, *options: str, on: set[int] | None = None) -> Iterator[Stub]:
    """Serve until the block ends, on the given cores."""
    record = folder / "arrivals.npz"
    with _kept_to(on):
        process = subprocess.Popen(
            [sys.executable, STUB, "--record", record, "--realtime", *options],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
    with process:
        assert process.stdout is not None
        yield Stub(process, f"127.0.0.1:{int(process.stdout.readline())}", record)
        process.kill()


@dataclass
class Run:
    """What heed-load left behind."""

    code: int
    output: str
    report: dict[str, Any]
    calls: Calls

    @property
    def rules(self) -> set[str]:
        """The rules that did not hold."""
        return {reason["rule"] for reason in self.report["verdict"]["reasons"]}

    @property
    def word(self) -> str:
        """The verdict, with the rules that did not hold."""
        return "VALID" if self.code == VALID else f"INVALID ({', '.join(sorted(self.rules))})"

    @property
    def advice(self) -> str:
        """What to do about figures that are off while the generator was late by its own rule."""
        late = [one["text"] for one in self.report["verdict"]["reasons"] if one["rule"] == "lag"]
        return f"repeat on a quiet machine: {late[0]}" if late else "the generator was on time"


@dataclass
class Running:
    """heed-load while it runs."""

    process: "subprocess.Popen[str]"
    folder: Path

    def finish(self, timeout_s: float = 240) -> Run:
        """Wait for its end and read what it wrote."""
        output, _ = self.process.communicate(timeout=timeout_s)
        assert self.process.returncode in {VALID, INVALID}, output
        report = json.loads((self.folder / "report.json").read_text())
        return Run(self.process.returncode, output, report, load(self.folder / "calls.npz"))


def start(
    folder: Path, target: str, scenario: str, *options: str, on: set[int] | None = None
) -> Running:
    """Run a scenario, given as TOML, against the stub; heed-load stays on the given cores."""
    path = folder / "scenario.toml"
    path.write_text(scenario)
    command = [
        sys.executable, "-m", "loadtest", "run", str(path), "--target", target, "--model", "stub",
        "--out", str(folder / "out"), *options,
    ]  # fmt: skip
    with _kept_to(on):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
        )
    return Running(process, folder / "out")


def show(capsys: Any, title: str, **figures: float | str) -> None:
    """Print figures beneath a title, whatever pytest captures."""
    with capsys.disabled():
        print(f"\n{title}")
        for name, value in figures.items():
            shown = value if isinstance(value, str) else f"{value:.4g}"
            print(f"  {name.replace('_', ' '):<40} {shown}")
