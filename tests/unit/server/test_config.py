"""Flags over environment over defaults, and every problem at once."""

from dataclasses import fields
from pathlib import Path

import pytest

from server.config import ServerConfig, default_threads, resolve, usable_cores
from server.errors import ConfigInvalid


def test_flags_win_over_environment_over_defaults() -> None:
    config = resolve({"port": "1"}, {"HEED_PORT": "2", "HEED_THREADS": "3", "PATH": "/bin"})

    assert (config.port, config.threads, config.ops_port) == (1, 3, 8002)


@pytest.mark.parametrize(("word", "value"), [("true", True), ("0", False), ("False", False)])
def test_booleans_are_words_in_the_environment(word: str, value: object) -> None:
    assert resolve({}, {"HEED_REFLECTION": word}).reflection is value


def test_every_problem_is_reported() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        resolve({"port": "-1"}, {"HEED_THREDS": "2", "HEED_REFLECTION": "maybe"})

    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "HEED_THREDS is not an option" in lines[0]


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
