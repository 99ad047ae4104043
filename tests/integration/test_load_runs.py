"""Whole runs through the command line, against a stub with a known service time.

Nothing here asserts how fast anything is: the machine may be busy. What must hold on any machine
is what was counted, what was said, and that a frozen server cannot hide.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtest import arrivals, record
from loadtest.scenario import Open, Overrides, load

ROOT = Path(__file__).parents[2]
STUB = Path(__file__).with_name("load_stub.py")
VALID, FAILED, USAGE, INVALID = 0, 1, 2, 3


@dataclass
class Result:
    code: int
    output: str
    errors: str


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


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env=environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


async def heed_load(*arguments: str) -> Result:
    process = await start("-m", "loadtest", *arguments)
    output, errors = await process.communicate()
    assert process.returncode is not None
    return Result(process.returncode, output.decode(), errors.decode())


@asynccontextmanager
async def serving(*options: str) -> AsyncIterator[Stub]:
    process = await start(str(STUB), "--service-ms", "2", *options)
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    yield Stub(process, f"127.0.0.1:{port}")
    process.send_signal(signal.SIGCONT)
    process.kill()
    await process.communicate()


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    async with serving() as running:
        yield running


def report(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return loaded


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_stands_alone(page: str, verdict: str) -> None:
    assert page.index(verdict) < page.index("<svg")
    assert "<script" not in page
    assert 'src="' not in page
    assert "url(http" not in page
    assert "prefers-color-scheme: dark" in page
    # Every colour of the figures is one of the page's.
    assert "#0102" not in page


async def test_closed_loop_reports_what_it_counted(stub: Stub, tmp_path: Path) -> None:
    scenario = tmp_path / "brief.toml"
    # p90 needs 44 answers, which any machine gives.
    scenario.write_text(
        'kind = "closed"\nusers = 4\nduration_s = 2\nwarmup_s = 0.5\npercentile = 90\n'
        "texts_per_call = 3\n"
    )
    out = tmp_path / "out"

    result = await heed_load(
        "run", str(scenario), "--target", stub.target, "--model", "stub", "--out", str(out)
    )

    assert result.code == VALID, result.output + result.errors
    assert "VALID" in result.output
    assert str(out / "report.html") in result.output
    assert names(out) == ["calls.npz", "report.html", "report.json"]
    found = report(out)
    calls = record.load(out / "calls.npz")
    measured = calls.where(calls.scheduled_ns >= 500_000_000)
    assert found["codes"] == {"OK": len(measured)}
    assert found["latency_us"]["from_schedule"]["samples"] == len(measured)
    assert sum(count for _, _, count in found["histogram_us"]) == len(measured)
    assert set(calls.texts.tolist()) == {3}
    assert found["generator"]["connections"] == 4
    # The stub's service time is a floor that no clock of ours may undercut.
    assert found["latency_us"]["from_send"]["p50"] >= 2000
    assert found["stages_us"]["run"]["mean"] == pytest.approx(1000)
    assert found["lag_us"]["of"] == "timers"
    assert found["verdict"] == {"valid": True, "reasons": []}
    assert_stands_alone((out / "report.html").read_text(), "VALID")


async def test_open_loop_sends_its_whole_schedule(stub: Stub, tmp_path: Path) -> None:
    options = ("--rate", "200", "--duration", "2.5", "--warmup", "0.5", "--seed", "5")

    result = await heed_load(
        "run", "open", "--target", stub.target, "--model", "stub", "--out", str(tmp_path), *options
    )

    scenario = load("open", Overrides(rate=200, duration_s=2.5, warmup_s=0.5, seed=5))
    assert isinstance(scenario, Open)
    calls = record.load(tmp_path / "calls.npz")
    assert sorted(calls.scheduled_ns.tolist()) == arrivals.schedule(scenario).tolist()
    assert (calls.code == 0).all()
    assert (calls.lag_ns >= 0).all()
    found = report(tmp_path)
    # Whether the generator was punctual is this machine's business; that both agree is ours.
    assert result.code == (VALID if found["verdict"]["valid"] else INVALID)
    broken = {reason["rule"] for reason in found["verdict"]["reasons"]}
    assert broken.isdisjoint({"undisturbed", "samples", "errors"})
    assert found["latency_us"]["from_schedule"]["p999"] is None
    assert "n<4603" in result.output


async def test_a_sparse_schedule_still_lasts_its_whole_time(stub: Stub, tmp_path: Path) -> None:
    scenario = tmp_path / "sparse.toml"
    scenario.write_text(
        'kind = "open"\nrate = 1\narrivals = "constant"\nduration_s = 1.5\nwarmup_s = 0\n'
    )

    result = await heed_load(
        "run", str(scenario), "--target", stub.target, "--model", "stub", "--quiet",
        "--out", str(tmp_path / "out"),
    )  # fmt: skip

    found = report(tmp_path / "out")
    assert found["measured_s"] == 1.5
    assert found["codes"] == {"OK": 2}
    assert "undisturbed" not in result.output


async def test_frozen_server_shows_from_schedule(stub: Stub, tmp_path: Path) -> None:
    """A quarter of the arrivals meet a stall of 1 s: p90 is 0.6 s however the calls were sent."""
    running = asyncio.create_task(
        heed_load(
            "run", "open", "--target", stub.target, "--model", "stub",
            "--rate", "100", "--duration", "4", "--warmup", "0", "--out", str(tmp_path),
        )
    )  # fmt: skip
    await stub.hundredth_call()
    stub.freeze()
    await asyncio.sleep(1)  # the stall itself
    stub.thaw()
    await running

    found = report(tmp_path)
    latency = found["latency_us"]["from_schedule"]
    assert latency["p90"] > 200_000
    assert latency["max"] > 800_000
    assert latency["p50"] < latency["p90"] / 2
    assert sum(found["codes"].values()) == len(record.load(tmp_path / "calls.npz"))


async def test_fast_answers_are_not_seen_late_behind_slow_ones(tmp_path: Path) -> None:
    """Forty slow calls are in flight at any time, more than gevent has threads by default."""
    async with serving("--slow-ms", "1000") as stub:
        result = await heed_load(
            "run", "open", "--target", stub.target, "--model", "stub", "--out", str(tmp_path),
            "--rate", "80", "--duration", "2", "--warmup", "0", "--json",
        )  # fmt: skip

    assert json.loads(result.output) == report(tmp_path)
    calls = record.load(tmp_path / "calls.npz")
    fast = calls.where(calls.total_ns < 500_000_000)
    assert len(fast) > 40
    assert np.median(fast.latency_ns) < 250_000_000


async def test_too_many_in_flight_stops_the_run(tmp_path: Path) -> None:
    scenario = tmp_path / "narrow.toml"
    scenario.write_text('kind = "open"\nrate = 100\nwarmup_s = 0\nmax_in_flight = 20\n')
    async with serving("--slow-ms", "1000") as stub:
        result = await heed_load(
            "run", str(scenario), "--target", stub.target, "--model", "stub",
            "--out", str(tmp_path / "out"),
        )  # fmt: skip

    assert result.code == INVALID
    assert "20 calls were in flight, the safety limit" in result.output
    # Stopped long before its 30 s, and every call that was sent has its end on record.
    assert report(tmp_path / "out")["measured_s"] < 10


async def test_unreachable_target_says_what_to_change(tmp_path: Path) -> None:
    result = await heed_load(
        "run", "open", "--target", "127.0.0.1:1", "--model", "stub", "--out", str(tmp_path)
    )

    assert result.code == FAILED
    assert "nothing serves at 127.0.0.1:1" in result.errors
    assert "--target" in result.errors
    assert "Traceback" not in result.errors
    assert names(tmp_path) == []


async def test_unknown_model_says_so(stub: Stub, tmp_path: Path) -> None:
    result = await heed_load(
        "run", "closed", "--target", stub.target, "--model", "none", "--out", str(tmp_path)
    )

    assert result.code == FAILED
    assert "has no model called none; correct --model" in result.errors


async def test_wrong_usage_exits_2() -> None:
    result = await heed_load(
        "run", "open", "--target", "127.0.0.1:1", "--model", "stub", "--users", "3"
    )

    assert result.code == USAGE
    assert "no users; pass --rate" in result.errors


async def test_list_names_every_scenario() -> None:
    result = await heed_load("list")

    assert result.code == VALID
    assert [line.split()[0] for line in result.output.splitlines()] == ["closed", "open"]
