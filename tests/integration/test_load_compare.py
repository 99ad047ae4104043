"""Comparisons through the command line, of stubs whose service times are known."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from load_command import (
    FAILED,
    INVALID,
    OVER,
    STUB,
    USAGE,
    VALID,
    Result,
    heed_load,
    serving,
    started,
)

QUEUE = ("--queue", "--service-ms", "20")
# Two in flight keep the one server busy, so that throughput is what it can do.
BRIEF = (
    "--model", "stub", "--in-flight", "2", "--percentile", "50", "--duration", "2",
    "--warmup", "0.2", "--pairs", "4",
)  # fmt: skip


def command(*options: str) -> str:
    return " ".join([sys.executable, str(STUB), "--port", "{port}", *QUEUE, *options])


def found(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "compare.json").read_text())
    return loaded


def folders(folder: Path, side: str) -> list[str]:
    return sorted(map(str, folder.glob(f"*-{side}")))


def skip_if_late(result: Result, folder: Path) -> None:
    """Skip where the generator stayed late in three attempts at one run."""
    if found(folder)["verdict"] == "INVALID":
        assert result.code == INVALID
        assert "late at p99" in found(folder)["text"], found(folder)["text"]
        pytest.skip("something else keeps the generator from its core")


def stubs() -> list[psutil.Process]:
    # Started by a comparison: with a port that it chose.
    running = [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"]]
    return [one for one in running if {str(STUB), "--port"} <= set(one.info["cmdline"])]


@pytest.mark.thorough  # sixteen runs
async def test_a_slower_build_is_worse(tmp_path: Path) -> None:
    result = await heed_load(
        "compare", "--a-command", command(), "--b-command", command("--slower", "1.3"), *BRIEF,
        "--out", str(tmp_path),
    )  # fmt: skip

    skip_if_late(result, tmp_path)
    comparison = found(tmp_path)
    assert result.code == OVER, result.output + result.errors
    assert comparison["verdict"] == "worse"
    decides = comparison["metrics"][0]
    assert decides["name"] == "throughput"
    assert decides["low"] < 1 / 1.3 < decides["high"] or decides["ratio"] == pytest.approx(
        1 / 1.3, rel=0.05
    )
    assert "".join(run["side"] for run in comparison["runs"]) == "ABBAABBA"
    assert [run["seed"] for run in comparison["runs"]] == [1, 1, 2, 2, 3, 3, 4, 4]
    for run in comparison["runs"]:
        assert (tmp_path / run["folder"] / "report.html").exists()
    assert not stubs()
    await assert_the_same_from_reports(comparison, tmp_path)


async def assert_the_same_from_reports(comparison: dict[str, Any], folder: Path) -> None:
    """The same runs, read from their folders, say the same."""
    sides = [folders(folder, side) for side in "AB"]
    again = await heed_load(
        "compare", "--from-reports", *sides[0], "--from-reports", *sides[1],
        "--out", str(folder / "again"), "--json",
    )  # fmt: skip

    assert again.code == OVER, again.errors
    read = json.loads(again.output)
    assert read["warnings"] == []
    assert read["verdict"] == "worse"
    for one, other in zip(read["metrics"], comparison["metrics"], strict=True):
        assert one["ratio"] == pytest.approx(other["ratio"])
        assert one["low"] == pytest.approx(other["low"])


@pytest.mark.thorough  # sixteen runs
async def test_a_server_is_no_different_from_itself(tmp_path: Path) -> None:
    async with serving(*QUEUE) as stub:
        result = await heed_load(
            "compare", stub.target, stub.target, *BRIEF, "--out", str(tmp_path)
        )

    skip_if_late(result, tmp_path)
    verdict = found(tmp_path)["verdict"]
    # A busy machine may leave it open; a difference it is not.
    assert verdict in {"no difference", "not enough data"}, result.output
    assert result.code == (VALID if verdict == "no difference" else INVALID)


@pytest.mark.thorough
async def test_an_ended_comparison_leaves_no_server_behind(tmp_path: Path) -> None:
    running = await started(
        "compare", "--a-command", command(), "--b-command", command(), *BRIEF,
        "--out", str(tmp_path),
    )  # fmt: skip
    await running.saying("run 1 of 8")
    family = running.family()

    running.process.terminate()
    await running.process.communicate()

    psutil.wait_procs(family, timeout=20)
    assert not [process for process in family if process.is_running()]


def usage(*options: str) -> Sequence[str]:
    return options


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (usage("127.0.0.1:1", *BRIEF), USAGE, "1 addresses for 2 sides"),
        (usage("127.0.0.1:1", "127.0.0.1:1"), USAGE, "--model"),
        (usage("127.0.0.1:1", "127.0.0.1:1", *BRIEF, "--pairs", "5"), FAILED, "even number"),
        (usage("127.0.0.1:1", "127.0.0.1:1", *BRIEF), FAILED, "127.0.0.1:1"),
        (usage("a:1", "b:1", *BRIEF, "--min-effect", "0"), USAGE, "--min-effect 0"),
        (usage("a:1", "b:1", *BRIEF, "--resolve", "1"), USAGE, "--resolve 1"),
        (usage("a:1", "--b-command", "true", *BRIEF), FAILED, "has no {port}"),
        (usage("a:1", "--b-command", "nosuch {port}", *BRIEF), FAILED, "No such file"),
        (usage("a:1", "--b-command", "false {port}", *BRIEF), FAILED, "exit code 1"),
        (usage("--from-reports", "x"), USAGE, "twice"),
        (usage("a:1", "--from-reports", "x", "--from-reports", "y"), USAGE, "leave out"),
        (
            usage("--from-reports", *"wxyz", "--from-reports", *"stuv"),
            FAILED,
            "No such file",
        ),
    ],
)
async def test_wrong_usage_says_what_to_change(
    options: Sequence[str], code: int, said: str, tmp_path: Path
) -> None:
    result = await heed_load("compare", *options, "--out", str(tmp_path))

    assert result.code == code, result.errors
    assert said in result.errors
    assert "Traceback" not in result.errors


@pytest.mark.thorough
async def test_a_recording_is_replayed_against_both(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    lines = (f"{number / 40},{4 + number % 20}" for number in range(100))
    trace.write_text("at_s,tokens\n" + "\n".join(lines))
    async with serving("--service-ms", "20") as a, serving("--service-ms", "60") as b:
        result = await heed_load(
            "compare", a.target, b.target, "--scenario", "replay", "--trace", str(trace),
            "--model", "stub", "--percentile", "50", "--pairs", "4", "--warmup", "0",
            "--out", str(tmp_path / "out"),
        )  # fmt: skip

    skip_if_late(result, tmp_path / "out")
    comparison = found(tmp_path / "out")
    assert result.code == OVER, result.output + result.errors
    assert comparison["verdict"] == "worse"
    # Arrivals are given, so throughput is not what decides.
    assert comparison["metrics"][0]["name"] == "p50"
    assert comparison["metrics"][0]["low"] > 2
