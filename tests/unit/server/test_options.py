"""Flags over environment over file over defaults, and every problem at once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from server.config import ServerConfig
from server.errors import ConfigInvalid
from server.options import as_flags, as_toml, changed, read, resolve

WriteFile = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> WriteFile:
    def write(text: str) -> str:
        path = tmp_path / "heed.toml"
        path.write_text(text)
        return str(path)

    return write


def problems(flags: dict[str, str | bool], environment: dict[str, str] | None = None) -> list[str]:
    return list(read(flags, environment or {}).problems)


def test_flags_win_over_environment_over_file_over_defaults(write: WriteFile) -> None:
    path = write("port = 1\nops_port = 1\nthreads = 1")

    config = resolve(
        {"port": "3", "config": path}, {"HEED_PORT": "2", "HEED_OPS_PORT": "2", "PATH": "/bin"}
    )

    assert (config.port, config.ops_port, config.threads, config.workers) == (3, 2, 1, 1)


def test_environment_may_name_the_file(write: WriteFile) -> None:
    assert resolve({}, {"HEED_CONFIG": write("threads = 7")}).threads == 7


@pytest.mark.parametrize(("word", "value"), [("true", True), ("0", False), ("False", False)])
def test_booleans_are_words_in_the_environment(word: str, value: object) -> None:
    assert resolve({}, {"HEED_REFLECTION": word}).reflection is value


def test_problems_of_every_source_are_reported_together(write: WriteFile) -> None:
    path = write('thread = 1\npin = "yes"\nport = 70000')

    with pytest.raises(ConfigInvalid) as caught:
        resolve(
            {"max_batch_rows": "-1", "config": path, "tls_cert": "a.pem"},
            {"HEED_THREDS": "2", "HEED_REFLECTION": "maybe"},
        )

    text = str(caught.value)
    assert len(text.splitlines()) == 7
    for hint in (
        "thread is not an option",
        "pin = 'yes': not a boolean",
        "port = 70000: must lie in 0 to 65535",
        "HEED_THREDS is not an option",
        "--reflection maybe: not a boolean",
        "--max-batch-rows -1: must be at least 0",
        "--tls-cert needs --tls-key",
    ):
        assert hint in text


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("threads = 1.0", "not a whole number"),
        ("threads = true", "not a whole number"),
        ("poll_s = true", "not a number"),
        ("reflection = 1", "not a boolean"),
        ("models = 1", "not a text"),
        ("models = ['a']", "not a text"),
        ('provider = "tpu"', "use one of cpu, cuda"),
        ('config = "other.toml"', "config is not an option"),
        ("[threads]", "not a whole number"),
        ("threads = ", "is not TOML"),
    ],
)
def test_file_is_typed(write: WriteFile, line: str, hint: str) -> None:
    (problem,) = problems({"config": write(line)})

    assert hint in problem


def test_whole_number_is_a_number(write: WriteFile) -> None:
    assert resolve({"config": write("poll_s = 2")}, {}).poll_s == 2.0


def test_missing_file_is_a_problem(tmp_path: Path) -> None:
    assert problems({"config": str(tmp_path / "none.toml")}) == [
        f"--config {tmp_path}/none.toml: No such file or directory"
    ]


@pytest.mark.parametrize(
    ("flags", "hint"),
    [
        ({"tls_cert": "a"}, "--tls-cert needs --tls-key"),
        ({"tls_key": "a"}, "--tls-key needs --tls-cert"),
        ({"tls_client_ca": "a"}, "--tls-client-ca needs"),
        ({"versions": "newest"}, "'newest' is no choice"),
        ({"port": "5", "ops_port": "5"}, "are both 5"),
        ({"device_memory_bytes": "5"}, "for a GPU"),
        ({"workers": "2", "unix_socket": "a"}, "only one process"),
        ({"workers": "2", "model_control": "explicit"}, "one worker only"),
        ({"workers": "2", "shared_memory": True}, "one worker only"),
    ],
)
def test_contradictions_are_problems(flags: dict[str, str | bool], hint: str) -> None:
    (problem,) = problems(flags)

    assert hint in problem


def test_what_is_printed_is_what_a_file_may_hold(write: WriteFile) -> None:
    odd = 'mo"dels\\ \n\t\x7f \N{ROCKET}'
    found = read({"models": odd, "poll_s": "1e-1", "reflection": False}, {"HEED_THREADS": "3"})
    assert found.config.models == Path(odd)

    again = resolve({"config": write(as_toml(found))}, {})

    assert replace(again, config="") == found.config


def test_source_of_every_value_is_printed(write: WriteFile) -> None:
    path = write("threads = 1")

    lines = as_toml(read({"port": "1", "config": path}, {"HEED_OPS_PORT": "2"})).splitlines()

    assert "port = 1  # flag --port" in lines
    assert "ops_port = 2  # environment HEED_OPS_PORT" in lines
    assert f"threads = 1  # file {path}" in lines
    assert "workers = 1  # default" in lines


def test_flags_of_a_configuration_give_it_back() -> None:
    config = resolve({"models": "a b", "probe": False, "max_batch_delay_ms": "0.5"}, {})

    parts = [flag.removeprefix("--").partition("=") for flag in as_flags(config)]
    flags: dict[str, str | bool] = {}
    for name, separator, value in parts:
        option = name.removeprefix("no-").replace("-", "_")
        flags[option] = value if separator else not name.startswith("no-")
    assert resolve(flags, {"HEED_CONFIG": ""}) == config


def test_changes_are_checked_like_a_file() -> None:
    config, wrong = changed(ServerConfig(), {"threads": 3, "max_batch_delay_ms": 2})
    assert (config.threads, config.max_batch_delay_ms, wrong) == (3, 2.0, [])

    _, wrong = changed(ServerConfig(), {"threads": 0, "cache_bytes": "1"})
    assert len(wrong) == 2
