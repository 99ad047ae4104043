"""Searches through the command line, against one server whose capacity is known: 50 calls/s."""

import json
from pathlib import Path
from typing import Any

import pytest
from load_command import FAILED, INVALID, USAGE, VALID, heed_load, serving

# 20 ms for every call, one at a time, in order of arrival.
QUEUE = ("--queue", "--service-ms", "20")
TRUE_RATE = 50
# Short runs and few of them: the median needs fifty calls to be claimed.
BRIEF = ("--percentile", "50", "--duration", "3", "--warmup", "0.2", "--width", "25")


def found(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "capacity.json").read_text())
    return loaded


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.thorough  # two dozen runs
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_capacity_of_a_queue_is_near_the_truth(tmp_path: Path, workers: str) -> None:
    async with serving(*QUEUE) as stub:
        result = await heed_load(
            "capacity", "server", "--target", stub.target, "--model", "stub", *BRIEF,
            "--bound-ms", "80", "--from", "30", "--confirm", "2", "--workers", workers,
            "--out", str(tmp_path),
        )  # fmt: skip

    capacity = found(tmp_path)
    if capacity["ended"] == "generator":
        assert result.code == INVALID
        assert f"--workers {2 * int(workers)}" in result.output
        pytest.skip("something else keeps the generator from its core")
    assert result.code == VALID, result.output + result.errors
    assert capacity["ended"] == "found"
    assert 0.5 < capacity["rate"] / TRUE_RATE < 1.3
    confirming = [one for one in capacity["tried"] if one["stage"] == "confirm"]
    assert [one["rate"] for one in confirming[-2:]] == [capacity["rate"]] * 2
    seeds = [one["run"]["seed"] for one in capacity["tried"]]
    assert len(set(seeds)) == len(seeds)
    for one in capacity["tried"]:
        assert (tmp_path / one["run"]["folder"] / "report.html").exists()
    page = (tmp_path / "capacity.html").read_text()
    assert page.index("calls/s") < page.index("<svg")
    assert {"capacity.csv", "capacity.md"} < names(tmp_path)
    assert "confirm" in result.output


@pytest.mark.thorough
async def test_a_bound_below_the_service_time_is_never_held(tmp_path: Path) -> None:
    """A start is measured, two rates fail, and the third would take longer than it may."""
    async with serving(*QUEUE) as stub:
        result = await heed_load(
            "capacity", "concurrency", "--target", stub.target, "--model", "stub", *BRIEF,
            "--bound-ms", "10", "--max-duration", "5", "--out", str(tmp_path), "--json",
        )  # fmt: skip

    assert result.code == INVALID, result.output + result.errors
    capacity = json.loads(result.output)
    assert capacity == found(tmp_path)
    assert capacity["rate"] is None
    assert capacity["ended"] in {"too-long", "generator"}
    assert (tmp_path / "00-start" / "report.json").exists()
    # Half of what the closed loop got, or of what it would have got.
    assert 0.3 < capacity["tried"][0]["rate"] / TRUE_RATE < 0.7


async def test_a_server_that_is_not_there_says_so(tmp_path: Path) -> None:
    result = await heed_load(
        "capacity", "server", "--target", "127.0.0.1:1", "--model", "stub", "--bound-ms", "10",
        "--out", str(tmp_path),
    )  # fmt: skip

    assert result.code == FAILED
    assert "127.0.0.1:1" in result.errors
    assert "Traceback" not in result.errors


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["server"], "--bound-ms"),
        (["server", "--bound-ms", "5", "--rate", "5"], "--from"),
        (["server", "--bound-ms", "5", "--from", "0"], "--from 0"),
        (["server", "--bound-ms", "5", "--from", "nan"], "--from nan"),
        (["server", "--bound-ms", "5", "--from", "9", "--to", "8"], "above --to"),
        (["server", "--bound-ms", "5", "--width", "0.1"], "--width"),
        (["server", "--bound-ms", "5", "--confirm", "0"], "--confirm"),
        (["server", "--bound-ms", "5", "--max-duration", "-1"], "--max-duration"),
        (["spike", "--bound-ms", "5"], "phases"),
        (["nosuch", "--bound-ms", "5"], "no scenario called nosuch"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_wrong_usage_says_what_to_change(
    options: list[str], said: str, tmp_path: Path
) -> None:
    target = ("--target", "127.0.0.1:1", "--model", "stub", "--out", str(tmp_path))
    result = await heed_load("capacity", *options, *target)

    assert result.code == USAGE, result.errors
    assert said in result.errors
