"""Runs of several sending processes: the whole schedule exactly once, and what happens to it when
one of them is lost.
"""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from load_command import (
    FAILED,
    INVALID,
    ROOT,
    VALID,
    Running,
    Stub,
    broken,
    free_port,
    heed_load,
    report,
    serving,
    started,
)

from loadtest.arrivals.schedule import schedule
from loadtest.record.calls import Calls
from loadtest.record.calls import load as load_calls
from loadtest.scenario.files import Overrides, load
from loadtest.scenario.schema import Open

OPTIONS = ("--rate", "150", "--duration", "2.5", "--warmup", "0.5", "--seed", "5")


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    async with serving() as running:
        yield running


def assert_whole_schedule(calls: Calls, workers: int) -> None:
    """Check that every call of `OPTIONS` was sent once, at its instant, by the worker due."""
    scenario = load("server", Overrides(rate=150, duration_s=2.5, warmup_s=0.5, seed=5))
    assert isinstance(scenario, Open)
    instants = schedule(scenario).instants_ns.tolist()
    assert calls.column("index").tolist() == list(range(len(instants)))
    assert calls.column("scheduled_ns").tolist() == instants
    assert (calls.column("worker") == calls.column("index") % workers).all()
    assert (calls.rows["code"] == 0).all()


async def test_three_workers_send_the_whole_schedule_exactly_once(
    stub: Stub, tmp_path: Path
) -> None:
    result = await heed_load(
        "run", "server", "--target", stub.target, "--model", "stub", "--out", str(tmp_path),
        "--workers", "3", *OPTIONS,
    )  # fmt: skip

    assert result.code in {VALID, INVALID}, result.output + result.errors
    calls = load_calls(tmp_path / "calls.npz")
    assert_whole_schedule(calls, 3)
    assert broken(tmp_path).isdisjoint({"undisturbed", "errors"})
    workers = report(tmp_path)["workers"]
    assert [worker["worker"] for worker in workers] == [0, 1, 2]
    assert sum(worker["calls"] for worker in workers) == len(calls)
    assert [worker["clock_error_us"] for worker in workers] == [0, 0, 0]


@pytest.mark.thorough
async def test_closed_loop_is_shared_out(stub: Stub, tmp_path: Path) -> None:
    await heed_load(
        "run", "concurrency", "--target", stub.target, "--model", "stub", "--out", str(tmp_path),
        "--workers", "2", "--in-flight", "5", "--duration", "2", "--warmup", "0.5",
    )  # fmt: skip

    calls = load_calls(tmp_path / "calls.npz")
    most = [worker["most_in_flight"] for worker in report(tmp_path)["workers"]]
    assert sorted(most) == [2, 3]
    assert len(set(calls.column("index").tolist())) == len(calls) > 0
    assert broken(tmp_path).isdisjoint({"undisturbed", "errors"})


@pytest.mark.thorough
async def test_workers_of_other_machines_are_waited_for(stub: Stub, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    master = await started(
        "run", "server", "--target", stub.target, "--model", "stub", "--out", str(tmp_path),
        "--expect-workers", "2", "--bind", address, *OPTIONS,
    )  # fmt: skip
    first = await started("worker", "--master", address)
    await master.saying("1 of 2 workers are here")
    second = await started("worker", "--master", address)
    result = await master.end()

    assert result.code in {VALID, INVALID}, result.output + result.errors
    assert_whole_schedule(load_calls(tmp_path / "calls.npz"), 2)
    assert broken(tmp_path).isdisjoint({"undisturbed", "errors"})
    # Nobody said that it is the same machine, so the clocks were compared, and better than 50 ms.
    assert all(0 < w["clock_error_us"] < 50_000 for w in report(tmp_path)["workers"])
    # The master says quit when it has no further run.
    assert [(await worker.end()).code for worker in (first, second)] == [0, 0]


@pytest.mark.thorough
async def test_worker_that_leaves_ends_the_run(stub: Stub, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    master = await started(
        "run", "server", "--target", stub.target, "--model", "stub", "--out", str(tmp_path),
        "--expect-workers", "1", "--bind", address, "--rate", "50", "--duration", "60",
    )  # fmt: skip
    worker = await started("worker", "--master", address)
    await master.saying("warm-up")
    await stub.hundredth_call()
    worker.interrupt()
    result = await master.end()

    assert result.code == INVALID
    assert "was lost: it has left" in result.output
    assert (await worker.end()).code == FAILED


@pytest.mark.parametrize(
    ("kind", "number", "said"),
    [
        ("worker", signal.SIGKILL, "its process ended with status -9"),
        ("loadtest.sender", signal.SIGKILL, "the sending process ended with code -9"),
        # Silence takes Locust a dozen seconds to tell from a pause.
        pytest.param("worker", signal.SIGSTOP, "it is silent", marks=pytest.mark.thorough),
    ],
)
async def test_lost_worker_makes_the_run_invalid_and_keeps_the_rest(
    stub: Stub, tmp_path: Path, kind: str, number: signal.Signals, said: str
) -> None:
    running = await started(
        "run", "server", "--target", stub.target, "--model", "stub", "--out", str(tmp_path),
        "--workers", "3", "--rate", "60", "--duration", "60", "--warmup", "0",
    )  # fmt: skip
    await running.saying("measuring")
    await stub.hundredth_call()
    family = running.family()
    running.of(kind)[0].send_signal(number)
    result = await running.end()

    assert result.code == INVALID, result.output + result.errors
    assert said in result.output
    assert "undisturbed" in broken(tmp_path)
    calls = load_calls(tmp_path / "calls.npz")
    # The others told of all their calls, the lost one of those up to its last message.
    assert len(calls) > 40
    assert set(calls.column("worker").tolist()) == {0, 1, 2}
    assert report(tmp_path)["measured_s"] < 60
    assert psutil.wait_procs(family, timeout=10)[1] == []


@pytest.mark.thorough
async def test_no_worker_outlives_a_killed_master(stub: Stub, tmp_path: Path) -> None:
    running = await started(
        "run", "server", "--target", stub.target, "--model", "stub", "--out", str(tmp_path),
        "--workers", "2", "--rate", "50", "--duration", "60", "--warmup", "0",
    )  # fmt: skip
    await running.saying("measuring")
    family = running.family()
    assert len(family) == 4
    running.process.kill()
    await running.end()

    assert psutil.wait_procs(family, timeout=10)[1] == []


async def test_worker_that_cannot_begin_fails_the_run_in_words(stub: Stub, tmp_path: Path) -> None:
    result = await heed_load(
        "run", "server", "--target", stub.target, "--model", "none", "--out", str(tmp_path),
        "--workers", "2",
    )  # fmt: skip

    assert result.code == FAILED
    assert "has no model called none; correct the model" in result.errors
    assert "Traceback" not in result.errors


@pytest.mark.thorough
async def test_interrupt_while_workers_are_missing(stub: Stub, tmp_path: Path) -> None:
    running = await started(
        "run", "server", "--target", stub.target, "--model", "stub", "--out", str(tmp_path),
        "--expect-workers", "2", "--bind", f"127.0.0.1:{free_port()}",
    )  # fmt: skip
    await running.saying("0 of 2 workers are here")
    running.interrupt()
    result = await running.end()

    assert result.code == FAILED
    assert "interrupted from the keyboard before the run began" in result.errors


@pytest.mark.thorough
async def test_taken_bind_says_so(stub: Stub, tmp_path: Path) -> None:
    result = await heed_load(
        "run", "server", "--target", stub.target, "--model", "stub", "--out", str(tmp_path),
        "--expect-workers", "1", "--bind", stub.target,
    )  # fmt: skip

    assert result.code == FAILED
    assert "pass another one to --bind" in result.errors


async def locust(*arguments: str) -> Running:
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("locust")),
        *("-f", str(ROOT / "loadtest" / "locustfile.py"), "--headless"),
        *arguments,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    return Running(process)


@pytest.mark.parametrize("processes", [[], ["--processes", "2"]])
@pytest.mark.thorough
async def test_locusts_own_command_does_the_same(
    stub: Stub, tmp_path: Path, processes: list[str]
) -> None:
    scenario = tmp_path / "brief.toml"
    scenario.write_text('kind = "open"\nrate = 100\nduration_s = 2\nwarmup_s = 0\n')
    running = await locust(
        "--host", stub.target, "--model", "stub", "--scenario", str(scenario),
        "--out", str(tmp_path / "out"), *processes,
    )  # fmt: skip
    result = await running.end()

    (folder,) = (tmp_path / "out").iterdir()
    assert result.code == (VALID if report(folder)["verdict"]["valid"] else INVALID)
    calls = load_calls(folder / "calls.npz")
    assert len(calls) == report(folder)["codes"]["OK"] > 100
    assert set(calls.column("worker").tolist()) == set(range(len(processes) or 1))
    assert "undisturbed" not in broken(folder)
    # Locust's own table counts the same calls.
    assert f" {len(calls)} " in result.output


@pytest.mark.thorough
async def test_locusts_own_command_says_what_is_wrong(stub: Stub, tmp_path: Path) -> None:
    running = await locust(
        "--host", stub.target, "--model", "none", "--scenario", "server", "--out", str(tmp_path)
    )
    result = await running.end()

    assert result.code == FAILED
    assert "has no model called none" in result.errors


@pytest.mark.thorough
async def test_locusts_own_master_and_workers_do_the_same(stub: Stub, tmp_path: Path) -> None:
    scenario = tmp_path / "brief.toml"
    scenario.write_text('kind = "open"\nrate = 100\nduration_s = 2\nwarmup_s = 0\n')
    port = str(free_port())
    master = await locust(
        "--master", "--expect-workers", "2", "--master-bind-port", port, "--host", stub.target,
        "--model", "stub", "--scenario", str(scenario), "--out", str(tmp_path / "out"),
    )  # fmt: skip
    workers = [await locust("--worker", "--master-port", port) for _ in range(2)]
    result = await master.end()
    ended = [await worker.end() for worker in workers]

    (folder,) = (tmp_path / "out").iterdir()
    assert result.code == (VALID if report(folder)["verdict"]["valid"] else INVALID)
    assert [one.code for one in ended] == [VALID, VALID], [one.errors for one in ended]
    calls = load_calls(folder / "calls.npz")
    assert len(calls) == report(folder)["codes"]["OK"] > 100
    assert set(calls.column("worker").tolist()) == {0, 1}
    assert "undisturbed" not in broken(folder)
