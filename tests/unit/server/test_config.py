"""The options themselves: what they say, and what this machine makes of them."""

from dataclasses import fields
from pathlib import Path

import pytest

from server.config import ServerConfig, default_threads, usable_cores
from server.options import resolve


def test_every_option_says_what_it_is_for() -> None:
    for option in fields(ServerConfig):
        assert option.metadata["help"].endswith("."), option.name


@pytest.mark.parametrize(
    ("cpu_max", "threads"),
    [
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("99900000 100000", len(usable_cores())),
        ("max 100000", len(usable_cores())),
        ("", len(usable_cores())),
    ],
)
def test_threads_keep_to_a_containers_quota(tmp_path: Path, cpu_max: str, threads: int) -> None:
    (tmp_path / "cpu.max").write_text(cpu_max)

    assert default_threads(tmp_path / "cpu.max") == threads


def test_threads_are_pinned_only_when_each_has_a_core() -> None:
    num_cores = str(len(usable_cores()))

    assert resolve({"threads": num_cores}, {}).run_cores() == usable_cores()
    assert resolve({"threads": num_cores, "pin": False}, {}).run_cores() == []
    assert resolve({"threads": str(len(usable_cores()) + 1)}, {}).run_cores() == []
