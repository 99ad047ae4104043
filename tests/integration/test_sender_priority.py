"""A sender that keeps instants takes real-time priority where it may, and says what it has."""

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from sender_runs import Stub, collect, order, stub

from loadtest.scenario.schema import AnyScenario, Closed, Open
from loadtest.sender.child import Child
from loadtest.sender.priority import take_realtime

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has these priorities")

OPEN = Open(rate=50, duration_s=0.2, warmup_s=0)
CLOSED = Closed(in_flight=2, duration_s=0.2, warmup_s=0)
PR_CAPBSET_DROP, CAP_SYS_NICE = 24, 23
TAKE = "from loadtest.sender.priority import take_realtime; print(take_realtime())"


@pytest.fixture(scope="module")
def server() -> Iterator[Stub]:
    with stub() as running:
        yield running


@pytest.fixture(scope="module")
def is_allowed() -> bool:
    """Whether this machine lets a process of ours have real-time priority."""
    asked = subprocess.run([sys.executable, "-c", TAKE], capture_output=True, text=True, check=True)
    return asked.stdout.strip() == "True"


def policies(pid: int) -> set[int]:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return {os.sched_getscheduler(int(thread.name)) for thread in threads}


@pytest.mark.parametrize(
    ("scenario", "wants_realtime"), [(OPEN, True), (OPEN, False), (CLOSED, True)]
)
def test_all_threads_of_a_sender_that_keeps_instants_are_raised(
    server: Stub,
    scenario: AnyScenario,
    wants_realtime: bool,  # noqa: FBT001
    is_allowed: bool,  # noqa: FBT001
) -> None:
    what = msgspec.structs.replace(order(scenario, server.address), wants_realtime=wants_realtime)
    expected = is_allowed and wants_realtime and scenario is OPEN

    with closing(Child(what)) as child:
        ready = child.ready()
        found = policies(child.pid)
        child.start(time.monotonic_ns())
        ran = collect(child)

    assert ready.is_realtime == expected
    assert found == {os.SCHED_RR if expected else os.SCHED_OTHER}
    assert set(ran.rows["code"].tolist()) == {0}


def test_without_the_right_everything_stays_as_it_was() -> None:
    def drop() -> None:
        # Fails where we are not root, and then the right is missing anyhow.
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_SYS_NICE, 0, 0, 0)

    said = subprocess.run(
        [sys.executable, "-c", f"{TAKE}; import os; print(os.sched_getscheduler(0))"],
        preexec_fn=drop,
        capture_output=True,
        text=True,
        check=True,
    )

    assert said.stdout.split() == ["False", str(os.SCHED_OTHER)]


def test_other_systems_have_none_to_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    assert not take_realtime()
