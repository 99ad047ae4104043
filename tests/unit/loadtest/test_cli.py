"""The command line: what is parsed, what is refused, and in which words."""

import argparse
from pathlib import Path

import pytest

from loadtest import cli
from loadtest.commands import codes, options
from loadtest.commands.options import BadOption
from loadtest.scenario.schema import BadScenario, Closed, Open

BASE = ["run", "server", "--target", "h:1", "--model", "m"]


def parsed(*arguments: str, scenario: str = "server") -> argparse.Namespace:
    return cli.parser().parse_args(["run", scenario, "--target", "h:1", "--model", "m", *arguments])


def test_every_command_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])

    assert "{run,capacity,sweep,compare,worker,list}" in capsys.readouterr().out


def test_plan_carries_everything() -> None:
    plan = options.plan(
        parsed(
            "--rate", "120", "--duration", "7", "--warmup", "2", "--seed", "9", "--deadline", "3",
            "--percentile", "95", "--bound-ms", "40", "--connections", "2", "--texts-per-call",
            "5", "--rpc", "tokenize", "--workers", "3", "--server-pid", "12", "--no-realtime",
            "--web",
        )
    )  # fmt: skip

    assert isinstance(plan.scenario, Open)
    assert (plan.name, plan.target, plan.model) == ("server", "h:1", "m")
    assert (plan.scenario.rate, plan.scenario.duration_s, plan.scenario.warmup_s) == (120, 7, 2)
    assert (plan.scenario.seed, plan.scenario.deadline_s) == (9, 3)
    assert (plan.scenario.percentile, plan.scenario.bound_ms) == (95, 40)
    assert plan.scenario.connections == 2
    assert (plan.scenario.requests[0].rpc, plan.scenario.requests[0].texts_per_call) == (
        "tokenize", 5,
    )  # fmt: skip
    assert (plan.workers, plan.expect_workers, plan.server_pid) == (3, 0, 12)
    assert not plan.wants_realtime
    assert plan.web_port == options.WEB_PORT


@pytest.mark.parametrize("option", ["--in-flight", "--users"])
def test_number_in_flight_has_its_old_name_too(option: str) -> None:
    plan = options.plan(parsed(option, "7", scenario="concurrency"))

    assert isinstance(plan.scenario, Closed)
    assert plan.scenario.in_flight == 7


def test_scenario_by_path_is_called_by_its_stem(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('kind = "open"\nrate = 3\n')

    assert options.plan(parsed(scenario=str(path))).name == "mine"


def test_certificates_and_keys_are_read_here(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "api").write_text(" secret\n")

    security = options.security(
        parsed(
            "--ca", str(tmp_path / "ca"), "--cert", str(tmp_path / "cert"),
            "--key", str(tmp_path / "key"), "--server-name", "heed.local",
            "--api-key-file", str(tmp_path / "api"), "--metadata", "x-a=1", "--metadata", "b=x=y",
        )
    )  # fmt: skip

    assert security.is_tls
    assert (security.ca, security.certificate, security.key) == (b"ca", b"cert", b"key")
    assert security.server_name == "heed.local"
    assert security.metadata == (("x-a", "1"), ("b", "x=y"), ("authorization", "Bearer secret"))


def test_without_options_nothing_is_secured() -> None:
    security = options.security(parsed())

    assert not security.is_tls
    assert security.metadata == ()
    assert options.security(parsed("--tls")).is_tls


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--workers", "0"], "--workers 0: must be from 1 to 256"),
        (["--workers", "100000"], "--workers 100000"),
        (["--expect-workers", "-1"], "--expect-workers -1"),
        (["--web", "0"], "--web 0: must be a port"),
        (["--web", "70000"], "--web 70000"),
        (["--bind", "5557"], "--bind 5557 is not of the form HOST:PORT"),
        (["--bind", "h:99999"], "--bind h:99999"),
        (["--server-pid", "1", "--metrics", "http://h/metrics"], "pass one"),
        (["--ca", "/none/ca.pem"], "--ca /none/ca.pem: No such file"),
        (["--cert", "/none/cert.pem"], "--cert and --key belong together"),
        (["--metadata", "novalue"], "write NAME=VALUE"),
        (["--metadata", "Upper=1"], "--metadata Upper"),
        (["--metadata", "a-bin=1"], "cannot be sent"),
        (["--metadata", "a=\u00fc"], "ASCII"),
        (["--api-key-file", "/none/key"], "--api-key-file /none/key: No such file"),
        (["--target", " "], "--target is empty"),
    ],
)
def test_options_that_cannot_be_are_refused_in_words(arguments: list[str], said: str) -> None:
    with pytest.raises(BadOption, match=said):
        options.plan(parsed(*arguments))


@pytest.mark.parametrize("content", ["", "\n", "two words", "a\nb", "k\u00fc"])
def test_file_of_the_api_key_holds_the_key_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "api").write_text(content)

    with pytest.raises(BadOption, match="write the key alone"):
        options.security(parsed("--api-key-file", str(tmp_path / "api")))


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0", "1e300"])
def test_numbers_that_no_run_could_have_are_refused(value: str) -> None:
    with pytest.raises(BadScenario):
        options.plan(parsed("--rate", value))
    with pytest.raises(BadScenario):
        options.plan(parsed("--duration", value))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["run"],
        ["run", "server", "--model", "m"],
        ["run", "server", "--target", "h:1"],
        [*BASE, "--rate", "fast"],
        [*BASE, "--rpc", "none"],
        [*BASE, "--workers", "2", "--expect-workers", "2"],
        [*BASE, "--quiet", "--json"],
        ["worker"],
        ["nonsense"],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)

    assert ended.value.code == codes.USAGE
    assert "usage: heed-load" in capsys.readouterr().err


def test_list_names_every_scenario_with_its_description(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["list"]) == codes.OK

    lines = capsys.readouterr().out.splitlines()
    assert {"server", "offline", "single-stream", "multi-stream"} <= {
        line.split()[0] for line in lines
    }
    assert all(len(line.split()) > 3 for line in lines)
