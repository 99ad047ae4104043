"""The light generator and the benchmarks, end to end. How fast anything is is not asked here."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from loopback import Target

MOST_CALLS = 20_000
"""In half a second; more would mean that something else than calls was counted."""


def printed(module: str, *arguments: str) -> Any:
    ended = subprocess.run(
        [sys.executable, "-m", module, *arguments, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return json.loads(ended.stdout)


def flood(target: Target, folder: Path, *options: str, text: str = "word1 word2") -> dict[str, Any]:
    lines = folder / "texts.txt"
    lines.write_text(f"{text}\n")
    found: dict[str, Any] = printed(
        "loadtest.benchmarks.flood",
        *("--target", target.address, "--model", "tiny", "--texts", str(lines)),
        *("--seconds", "0.5", "--warmup", "0.2", "--server-pid", str(target.process.pid)),
        *options,
    )
    return found


@pytest.mark.parametrize("in_flight", [1, 8])
def test_calls_in_flight_are_answered_and_counted(
    target: Target, tmp_path: Path, in_flight: int
) -> None:
    found = flood(target, tmp_path, "--in-flight", str(in_flight))

    assert list(found["codes"]) == ["OK"]
    assert 0 < found["codes"]["OK"] < MOST_CALLS
    assert found["answered_per_s"] == found["codes"]["OK"] / found["seconds"]
    assert 0 < found["answered_ms"]["p50"] <= found["answered_ms"]["p99"]
    assert found["server_cpu_ms"] > 0
    assert found["lag_ms"]["max"] == 0


def test_a_schedule_is_sent_whole(target: Target, tmp_path: Path) -> None:
    found, again = (flood(target, tmp_path, "--rate", "200", "--seed", "3") for _ in range(2))

    assert sum(found["codes"].values()) == sum(again["codes"].values()) > 50
    assert found["lag_ms"]["max"] > 0


def test_calls_that_expire_are_no_answers(target: Target, tmp_path: Path) -> None:
    options = ("--in-flight", "8", "--deadline", "0.05")

    found = flood(target, tmp_path, *options, text="slow " * 20)

    assert found["codes"].get("DEADLINE_EXCEEDED", 0) + found["codes"].get("RESOURCE_EXHAUSTED", 0)
    assert found["in_time_per_s"] == 0


@pytest.mark.parametrize(
    ("benchmark", "sides"),
    [
        ("packing", ["packed", "padded, first come first served, 16 rows"]),
        ("ceiling", ["served, 64 in flight", "in process"]),
        pytest.param("policies", ["packed", "one at a time"], marks=pytest.mark.thorough),
        pytest.param("overload", ["overloaded"], marks=pytest.mark.thorough),
    ],
)
def test_benchmarks_compare_their_sides(repository: Path, benchmark: str, sides: list[str]) -> None:
    options = ("--models", str(repository), "--model", "tiny", "--seconds", "0.3", "--pairs", "1")

    found = printed("loadtest.bench", benchmark, *options)

    for comparison in found:
        assert list(comparison["turns"])[: len(sides)] == sides
        assert all(len(turns) == 1 for turns in comparison["turns"].values())
