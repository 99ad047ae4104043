"""Whole runs through the command line, against a stub with a known service time.

Nothing here asserts how fast anything is: the machine may be busy. What must hold on any machine
is what was counted, what was said, and that a frozen server cannot hide.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.request import urlopen

import certificates
import loopback
import numpy as np
import psutil
import pytest
from load_command import (
    FAILED,
    INVALID,
    OVER,
    USAGE,
    VALID,
    Running,
    Stub,
    broken,
    free_port,
    heed_load,
    report,
    serving,
    start,
    started,
)

from loadtest.arrivals.schedule import schedule
from loadtest.record.calls import load as load_calls
from loadtest.scenario.files import Overrides, load
from loadtest.scenario.schema import Open


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    async with serving() as running:
        yield running


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_closed_loop_reports_what_it_counted(stub: Stub, tmp_path: Path) -> None:
    scenario = tmp_path / "brief.toml"
    # p90 needs 44 answers, which any machine gives.
    scenario.write_text(
        'kind = "closed"\nin_flight = 4\nduration_s = 2\nwarmup_s = 0.5\npercentile = 90\n'
        "[[requests]]\ntexts_per_call = 3\n"
    )
    out = tmp_path / "out"

    result = await heed_load(
        "run", str(scenario), "--target", stub.target, "--model", "stub", "--out", str(out)
    )

    assert result.code in {VALID, INVALID}, result.output + result.errors
    assert str(out / "report.html") in result.output
    assert {"calls.npz", "report.csv", "report.html", "report.json", "report.md"} <= {*names(out)}
    found = report(out)
    calls = load_calls(out / "calls.npz")
    assert found["codes"] == {"OK": len(calls.measured)}
    assert found["workers"][0]["calls"] == len(calls)
    assert set(calls.column("texts").tolist()) == {3}
    # Four calls in flight, never a fifth.
    assert found["workers"][0]["most_in_flight"] == 4
    # The stub's service time is a floor that no clock of ours may undercut.
    assert found["latency_us"]["from_send"]["p50"] >= 2000
    assert broken(out) <= {"lag"}


async def test_open_loop_sends_its_whole_schedule(stub: Stub, tmp_path: Path) -> None:
    options = ("--rate", "200", "--duration", "2.5", "--warmup", "0.5", "--seed", "5")

    result = await heed_load(
        "run", "server", "--target", stub.target, "--model", "stub", "--out", str(tmp_path),
        "--json", *options,
    )  # fmt: skip

    scenario = load("server", Overrides(rate=200, duration_s=2.5, warmup_s=0.5, seed=5))
    assert isinstance(scenario, Open)
    calls = load_calls(tmp_path / "calls.npz")
    assert calls.column("scheduled_ns").tolist() == schedule(scenario).instants_ns.tolist()
    assert (calls.rows["code"] == 0).all()
    assert (calls.lag_ns >= 0).all()
    found = report(tmp_path)
    assert json.loads(result.output) == found
    # Whether the generator was punctual is this machine's business; that both agree is ours.
    assert result.code == (VALID if found["verdict"]["valid"] else INVALID)
    assert broken(tmp_path).isdisjoint({"undisturbed", "samples", "errors"})
    assert found["latency_us"]["from_schedule"]["p999"] is None


@pytest.mark.thorough
async def test_a_sparse_schedule_still_lasts_its_whole_time(stub: Stub, tmp_path: Path) -> None:
    result = await heed_load(
        "run", "constant", "--target", stub.target, "--model", "stub", "--quiet",
        "--rate", "1", "--duration", "1.5", "--warmup", "0", "--out", str(tmp_path),
    )  # fmt: skip

    found = report(tmp_path)
    assert found["measured_s"] == 1.5
    assert sum(found["codes"].values()) == found["codes"]["OK"] == 2
    assert "undisturbed" not in result.output
    assert result.errors == ""


async def test_an_exceeded_bound_has_an_exit_code_of_its_own(stub: Stub, tmp_path: Path) -> None:
    result = await heed_load(
        "run", "constant", "--target", stub.target, "--model", "stub", "--out", str(tmp_path),
        "--rate", "50", "--duration", "2", "--warmup", "0", "--percentile", "90",
        "--bound-ms", "0.1",
    )  # fmt: skip

    assert report(tmp_path)["bound"]["holds"] is False
    assert result.code == (OVER if report(tmp_path)["verdict"]["valid"] else INVALID)


async def test_frozen_server_shows_from_schedule(stub: Stub, tmp_path: Path) -> None:
    """A quarter of the arrivals meet a stall of 1 s: p90 is 0.6 s however the calls were sent."""
    running = asyncio.create_task(
        heed_load(
            "run", "server", "--target", stub.target, "--model", "stub",
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
    assert sum(found["codes"].values()) == len(load_calls(tmp_path / "calls.npz"))


@pytest.mark.thorough
async def test_fast_answers_are_not_seen_late_behind_slow_ones(tmp_path: Path) -> None:
    """Forty slow calls are in flight at any time."""
    async with serving("--slow-ms", "1000") as stub:
        await heed_load(
            "run", "server", "--target", stub.target, "--model", "stub", "--out", str(tmp_path),
            "--rate", "80", "--duration", "2", "--warmup", "0",
        )  # fmt: skip

    calls = load_calls(tmp_path / "calls.npz")
    fast = calls.where(calls.column("total_ns") < 500_000_000)
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
    assert "20 calls of one process were in flight" in result.output
    # Stopped long before its 30 s, and every call that was sent has its end on record.
    assert report(tmp_path / "out")["measured_s"] < 10


async def test_unreachable_target_says_what_to_change(tmp_path: Path) -> None:
    result = await heed_load(
        "run", "server", "--target", "127.0.0.1:1", "--model", "stub", "--out", str(tmp_path)
    )

    assert result.code == FAILED
    assert "nothing serves at 127.0.0.1:1" in result.errors
    assert "correct the target" in result.errors
    assert "Traceback" not in result.errors
    assert names(tmp_path) == []


async def test_unknown_model_says_so(stub: Stub, tmp_path: Path) -> None:
    result = await heed_load(
        "run", "concurrency", "--target", stub.target, "--model", "none", "--out", str(tmp_path)
    )

    assert result.code == FAILED
    assert "has no model called none; correct the model" in result.errors


async def test_certificates_and_api_key_reach_the_server(repository: Path, tmp_path: Path) -> None:
    """heed itself with mutual TLS and keys; the key is worth nothing to whoever reads the files."""
    authority = certificates.make(tmp_path, "authority")
    pair = certificates.make(tmp_path, "server", authority)
    client = certificates.make(tmp_path, "client", authority)
    digest = hashlib.sha256(b"secret").hexdigest()
    keys = f'[[keys]]\nname = "load"\ngroups = ["infer"]\nsha256 = "{digest}"\n'
    (tmp_path / "keys.toml").write_text(keys)
    (tmp_path / "key").write_text("secret\n")
    scenario = tmp_path / "short.toml"
    scenario.write_text(
        'kind = "open"\nrate = 30\narrivals = "constant"\nduration_s = 1\nwarmup_s = 0\n'
        '[[requests]]\nlengths = { distribution = "fixed", tokens = 8 }\n'
    )
    with loopback.serve(
        repository, *pair.options, "--tls-client-ca", str(authority.cert),
        "--api-keys", str(tmp_path / "keys.toml"),
    ) as target:  # fmt: skip
        run = [
            "run", str(scenario), "--target", target.address, "--model", "tiny",
            "--out", str(tmp_path / "out"), "--ca",
            str(authority.cert), "--cert", str(client.cert), "--key", str(client.key),
        ]  # fmt: skip
        without = await heed_load(*run)
        result = await heed_load(*run, "--api-key-file", str(tmp_path / "key"))

    assert without.code == FAILED
    assert "UNAUTHENTICATED" in without.errors
    assert result.code in {VALID, INVALID}, result.errors
    assert report(tmp_path / "out")["codes"]["OK"] == 30
    assert "secret" not in (tmp_path / "out" / "report.json").read_text()


async def test_folder_that_cannot_be_written_fails_before_the_run(
    stub: Stub, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")

    result = await heed_load(
        "run", "server", "--target", stub.target, "--model", "stub",
        "--out", str(tmp_path / "file" / "out"),
    )  # fmt: skip

    assert result.code == FAILED
    assert "--out" in result.errors


async def test_wrong_usage_exits_2() -> None:
    result = await heed_load(
        "run", "server", "--target", "127.0.0.1:1", "--model", "stub", "--in-flight", "3"
    )

    assert result.code == USAGE
    assert "takes no --in-flight; it takes --rate" in result.errors


async def long_run(stub: Stub, out: Path, *options: str) -> Running:
    """Start a run of a minute, and return once it measures."""
    running = await started(
        "run", "server", "--target", stub.target, "--model", "stub", "--out", str(out),
        "--rate", "50", "--duration", "60", "--warmup", "0", *options,
    )  # fmt: skip
    await running.saying("measuring")
    return running


async def test_interrupted_run_ends_in_order(stub: Stub, tmp_path: Path) -> None:
    running = await long_run(stub, tmp_path)
    family = running.family()
    await stub.hundredth_call()
    running.interrupt()
    result = await running.end()

    assert result.code == INVALID
    assert "interrupted from the keyboard" in result.output
    found = report(tmp_path)
    assert found["measured_s"] < 60
    # Whatever was in flight has its end on record.
    assert found["codes"] == {"OK": len(load_calls(tmp_path / "calls.npz"))}
    assert len(load_calls(tmp_path / "calls.npz")) > 90
    assert psutil.wait_procs(family, timeout=10)[1] == []


@pytest.mark.thorough
async def test_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    """The server is frozen with calls in it, so draining would last as long as the deadline."""
    async with serving("--slow-ms", "1000") as stub:
        running = await long_run(stub, tmp_path, "--deadline", "90")
        family = running.family()
        await stub.hundredth_call()
        stub.freeze()
        running.interrupt()
        await running.saying("draining")
        running.interrupt()
        result = await running.end()

    assert result.code == FAILED
    assert result.errors.splitlines()[-1] == "heed-load: interrupted"
    assert "KeyboardInterrupt" not in result.errors
    assert psutil.wait_procs(family, timeout=10)[1] == []


@pytest.mark.thorough
async def test_killed_sender_leaves_what_was_recorded(stub: Stub, tmp_path: Path) -> None:
    running = await long_run(stub, tmp_path)
    await stub.hundredth_call()
    (sender,) = running.of("loadtest.sender")
    sender.kill()
    result = await running.end()

    assert result.code == INVALID
    assert "the sending process ended with code -9" in result.output
    assert "undisturbed" in broken(tmp_path)
    assert len(load_calls(tmp_path / "calls.npz")) > 50


async def test_locusts_page_is_alive_and_can_stop_the_run(stub: Stub, tmp_path: Path) -> None:
    port = free_port()
    running = await long_run(stub, tmp_path, "--web", str(port))
    await stub.hundredth_call()

    def ask(path: str, posted: bytes | None = None) -> bytes:
        with urlopen(f"http://127.0.0.1:{port}{path}", posted, timeout=30) as page:
            content: bytes = page.read()
            return content

    assert b"Locust" in await asyncio.to_thread(ask, "/")
    (entry, total) = json.loads(await asyncio.to_thread(ask, "/stats/requests"))["stats"]
    assert entry["name"] == "embed stub"
    assert total["num_requests"] == entry["num_requests"] > 50
    # Finer than the whole milliseconds of Locust's own rounding.
    assert entry["median_response_time"] % 1 > 0
    await asyncio.to_thread(ask, "/stop", b"")
    result = await running.end()

    assert result.code == INVALID
    assert "stopped on Locust's page" in result.output


@pytest.mark.thorough
async def test_taken_port_of_the_page_is_said_before_the_run(stub: Stub, tmp_path: Path) -> None:
    port = stub.target.rpartition(":")[2]

    result = await heed_load(
        "run", "server", "--target", stub.target, "--model", "stub", "--out", str(tmp_path),
        "--web", port,
    )  # fmt: skip

    assert result.code == FAILED
    assert "pass another one to --web" in result.errors


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.thorough
async def test_runs_follow_one_another_in_one_process(stub: Stub, workers: str) -> None:
    script = Path(__file__).with_name("load_twice.py")

    process = Running(await start(str(script), stub.target, workers))
    result = await process.end()

    assert result.code == 0, result.errors
    first, second, missing, third = json.loads(result.output)
    assert first["calls"] == second["calls"] > 0
    assert "has no model called none" in missing
    # Another scenario than before, on the same fabric.
    assert third["calls"] == 40
    assert {run["workers"] for run in (first, second, third)} == {int(workers)}
    assert [run["disturbances"] for run in (first, second, third)] == [[], [], []]
