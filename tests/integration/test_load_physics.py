"""What of the physics exam holds on any machine, however busy: order, floors, and the verdict.

The figures themselves are in tests/physics, for a quiet machine.
"""

import signal
from pathlib import Path

import exam
import numpy as np
import pytest
from queueing import waits_ns

SERVICE_NS = 4_000_000


@pytest.fixture(scope="module")
def queued(tmp_path_factory: pytest.TempPathFactory) -> tuple[exam.Run, np.ndarray]:
    """A run against one constant server at load 0.7; its arrivals by the server's clock."""
    folder = tmp_path_factory.mktemp("queued")
    scenario = 'kind = "open"\nrate = 175\nduration_s = 3\nwarmup_s = 0.5\nseed = 1\n'
    with exam.stub(folder, "--queue", "--service-ms", str(SERVICE_NS / 1e6)) as stub:
        run = exam.start(folder, stub.target, scenario, "--quiet").finish()
        return run, stub.arrivals_ns(len(run.calls))


def test_the_queue_is_the_one_that_theory_speaks_of(
    queued: tuple[exam.Run, np.ndarray],
) -> None:
    """Each wait that was reported follows from the arrivals by Lindley's recursion, to the ns."""
    run, arrived = queued

    assert sorted(run.calls.column("queue_ns")) == sorted(waits_ns(arrived, SERVICE_NS))


def test_no_call_is_faster_than_its_wait_and_service(
    queued: tuple[exam.Run, np.ndarray],
) -> None:
    calls = queued[0].calls
    floor = calls.column("queue_ns") + SERVICE_NS

    assert (calls.send_latency_ns > floor).all()
    assert (calls.latency_ns >= calls.send_latency_ns).all()


def test_waits_from_the_schedule_are_never_below_what_it_implies(
    queued: tuple[exam.Run, np.ndarray],
) -> None:
    """Late sends and late answers can only add: the last departure is no earlier than planned."""
    calls = queued[0].calls
    due = calls.column("scheduled_ns")
    planned = due + waits_ns(due, SERVICE_NS) + SERVICE_NS

    assert (np.sort(calls.column("done_ns")) >= planned).all()


def test_what_no_process_can_send_is_invalid(tmp_path: Path) -> None:
    scenario = 'kind = "open"\nrate = 30000\nduration_s = 0.2\nwarmup_s = 0\nseed = 1\n'
    with exam.stub(tmp_path, "--service-ms", "0") as stub:
        run = exam.start(tmp_path, stub.target, scenario, "--quiet").finish()

    assert run.code == exam.INVALID
    assert run.rules & {"lag", "keeps-up"}
    assert "lag" in run.output or "calls ended while" in run.output


def test_the_stub_says_what_arrived_when_asked(tmp_path: Path) -> None:
    scenario = 'kind = "closed"\nin_flight = 2\nduration_s = 0.5\nwarmup_s = 0\n'
    with exam.stub(tmp_path, "--announce", "0") as stub:
        run = exam.start(tmp_path, stub.target, scenario, "--quiet").finish()
        stub.process.send_signal(signal.SIGUSR1)
        assert stub.process.stdout is not None
        said = stub.process.stdout.readline()

    # The first call of every kind is a check before the run.
    assert said == f"recorded {len(run.calls) + 1}\n"
