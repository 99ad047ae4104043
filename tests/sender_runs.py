"""Start the sender's stub and run orders against it, for the tests of the sender."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtest.record.calls import Calls, merge
from loadtest.record.row import ROW, Rows
from loadtest.scenario.schema import AnyScenario
from loadtest.sender.child import Child, Probes
from loadtest.sender.order import Done, Order, Security

STUB = Path(__file__).parent / "integration" / "sender_stub.py"
SOON_NS = 20_000_000


@dataclass(frozen=True)
class Stub:
    process: subprocess.Popen[str]
    address: str


@dataclass(frozen=True)
class Ran:
    """What one sending process brought back."""

    calls: Calls
    done: Done

    @property
    def rows(self) -> Rows:
        return self.calls.rows


@contextmanager
def stub(*options: str) -> Iterator[Stub]:
    process = subprocess.Popen(
        [sys.executable, str(STUB), *options], stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            yield Stub(process, f"127.0.0.1:{int(process.stdout.readline())}")
        finally:
            process.kill()


def order(
    scenario: AnyScenario, target: str, model: str = "stub", security: Security | None = None
) -> Order:
    return Order(scenario=scenario, target=target, model=model, security=security or Security())


@contextmanager
def ready(what: Order) -> Iterator[Child]:
    """A child that only waits for its instant 0."""
    child = Child(what)
    try:
        child.ready()
        yield child
    finally:
        child.close()


def collect(child: Child, on_rows: Callable[[], object] = lambda: None) -> Ran:
    """Read a run to its end; `on_rows` is called whenever there are new ones."""
    rows = [np.zeros(0, ROW)]
    probes: list[Probes] = []
    for frame in child.frames():
        match frame:
            case Done():
                at = [one.at_ns for one in probes]
                lag = [one.lag_ns for one in probes]
                none = np.zeros(0, np.int64)
                calls = Calls(
                    np.concatenate(rows), np.concatenate([none, *at]), np.concatenate([none, *lag])
                )
                return Ran(calls, frame)
            case Probes():
                probes.append(frame)
            case _:
                rows.append(frame)
                on_rows()
    raise AssertionError("frames ended without the last")


def run(what: Order, in_ns: int = SOON_NS) -> Ran:
    """Run one sender; instant 0 is so long from now."""
    with ready(what) as child:
        child.start(time.monotonic_ns() + in_ns)
        return collect(child)


def run_together(orders: Sequence[Order]) -> tuple[Calls, list[Ran]]:
    """Run several senders with one instant 0, and return them merged and each."""
    with ExitStack() as stack:
        children = [stack.enter_context(ready(one)) for one in orders]
        at_ns = time.monotonic_ns() + SOON_NS
        for child in children:
            child.start(at_ns)
        ran = [collect(child) for child in children]
    return merge([one.calls for one in ran]), ran
