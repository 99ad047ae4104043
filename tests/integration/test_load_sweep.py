"""Sweeps through the command line, against one server that does 100 calls/s at most."""

import json
from pathlib import Path
from typing import Any

import pytest
from load_command import FAILED, INVALID, USAGE, VALID, heed_load, serving

QUEUE = ("--queue", "--service-ms", "10")
BRIEF = ("--percentile", "50", "--duration", "2.5", "--warmup", "0.2")
# Whether the generator was punctual is this machine's business.
JUDGED = {"valid", "late"}


def found(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "sweep.json").read_text())
    return loaded


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.thorough  # a run for each level
async def test_throughput_saturates_and_latency_grows(tmp_path: Path) -> None:
    async with serving(*QUEUE) as stub:
        result = await heed_load(
            "sweep", "server", "--target", stub.target, "--model", "stub", *BRIEF,
            "--over", "in-flight", "1,2,4,8", "--out", str(tmp_path),
        )  # fmt: skip

    sweep = found(tmp_path)
    points = sweep["points"]
    states = {point["state"] for point in points}
    assert [point["level"] for point in points] == [1, 2, 4, 8]
    assert states <= JUDGED, result.output + result.errors
    assert result.code == (VALID if states == {"valid"} else INVALID)
    most = max(point["run"]["answered_per_s"] for point in points)
    # Never more than the server can, and from two in flight on as good as that.
    assert most < 110
    assert all(point["run"]["answered_per_s"] > 0.8 * most for point in points[1:])
    means = [point["run"]["latency_us"]["mean"] for point in points]
    # With n in flight at a server of one, each waits for n.
    assert means == sorted(means)
    assert means[3] / means[1] == pytest.approx(4, rel=0.25)
    if "late" not in states:
        assert sweep["saturation"] in {1, 2}
        assert sweep["knee"] in {1, 2}
        assert "knee at" in result.output
    for point in points:
        assert (tmp_path / point["run"]["folder"] / "report.html").exists()
    assert {"sweep.html", "sweep.json", "sweep.csv", "sweep.md"} < names(tmp_path)


@pytest.mark.thorough
async def test_a_rate_above_capacity_is_overload(tmp_path: Path) -> None:
    async with serving(*QUEUE) as stub:
        result = await heed_load(
            "sweep", "concurrency", "--target", stub.target, "--model", "stub", *BRIEF,
            "--over", "rate", "30,200", "--out", str(tmp_path), "--json",
        )  # fmt: skip

    sweep = json.loads(result.output)
    assert sweep == found(tmp_path)
    calm, full = sweep["points"]
    assert calm["state"] in JUDGED
    assert full["state"] in {"overloaded", "late"}
    broken = {reason["rule"] for reason in full["run"]["reasons"]}
    assert "keeps-up" in broken
    assert full["run"]["answered_per_s"] < 110
    assert full["run"]["latency_us"]["mean"] > 3 * calm["run"]["latency_us"]["mean"]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--over", "users", "1"], USAGE, "write in-flight or rate"),
        (["--over", "rate", "x"], USAGE, "--over rate x"),
        (["--over", "in-flight", "0"], USAGE, "--over in-flight 0"),
        (["--in-flight", "4"], USAGE, "--over"),
        (["--over", "in-flight", "1"], FAILED, "127.0.0.1:1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_wrong_usage_says_what_to_change(
    options: list[str], code: int, said: str, tmp_path: Path
) -> None:
    target = ("--target", "127.0.0.1:1", "--model", "stub", "--out", str(tmp_path))
    result = await heed_load("sweep", "concurrency", *target, *options)

    assert result.code == code, result.errors
    assert said in result.errors
