"""The scenario as a file and the command that runs it again."""

import shlex
import tomllib
from pathlib import Path

import finished_runs
import msgspec
import pytest

from loadtest.report import repeat
from loadtest.report.build import build
from loadtest.report.model import Report
from loadtest.scenario import files
from loadtest.scenario.requests import Request, Tensor
from loadtest.scenario.schema import Closed, Open, Replay


@pytest.fixture(scope="module")
def report() -> Report:
    return build(finished_runs.steady())


def arguments(report: Report, name: str, overrides: files.Overrides) -> list[str]:
    scenario = repeat.stripped(files.load(name, overrides))
    command = repeat.command(msgspec.structs.replace(report, name=name, scenario=scenario))
    return shlex.split(command.replace("\\\n", ""))


def test_packaged_scenario_is_repeated_by_its_name_and_what_was_changed(report: Report) -> None:
    overrides = files.Overrides(rate=120.0, seed=4, bound_ms=7.5)

    assert arguments(report, "server", overrides) == [
        *("heed-load", "run", "server", "--rate", "120", "--seed", "4", "--bound-ms", "7.5"),
        *("--target", "127.0.0.1:8001", "--model", "minilm", "--workers", "2"),
    ]


@pytest.mark.parametrize("name", [name for name in files.packaged() if name != "replay"])
def test_packaged_scenario_as_it_is_needs_no_options(report: Report, name: str) -> None:
    words = arguments(report, name, files.Overrides())

    assert words[:4] == ["heed-load", "run", name, "--target"]


def test_replay_names_its_trace(report: Report, tmp_path: Path) -> None:
    trace = tmp_path / "a trace.csv"
    trace.write_text("at_s,tokens\n0,3\n1,4\n2,5\n")

    words = arguments(report, "replay", files.Overrides(trace=str(trace)))

    assert words[:5] == ["heed-load", "run", "replay", "--trace", str(trace)]


def test_trace_that_is_gone_leaves_the_file_to_be_written(report: Report) -> None:
    gone = msgspec.structs.replace(report, name="replay", scenario=Replay(trace="/gone.csv"))

    assert repeat.command(gone).startswith("heed-load run replay.toml")


def test_own_scenario_is_a_file(report: Report) -> None:
    own = msgspec.structs.replace(report, name="my mix; rm")

    assert repeat.command(own).startswith("heed-load run 'my mix; rm.toml'")


@pytest.mark.parametrize("name", [name for name in files.packaged() if name != "replay"])
def test_toml_of_a_packaged_scenario_is_that_scenario(name: str) -> None:
    scenario = files.load(name, files.Overrides())

    assert files.parse(repeat.toml(scenario), name) == scenario


@pytest.mark.parametrize(
    "scenario",
    [
        Closed(in_flight=3, description='say "hi"\n\x7f\t\\ µ é'),
        Open(
            rate=1e-7,
            bound_ms=1e300,
            requests=(
                Request(rpc="infer", tensors={"input.1": Tensor(shape=(-1, 3), low=-0.5)}),
                Request(model='a"b', weight=1 / 3),
            ),
        ),
    ],
)
def test_toml_holds_any_text_and_number(scenario: Closed | Open) -> None:
    text = repeat.toml(scenario)

    assert tomllib.loads(text)["kind"] in {"closed", "open"}
    assert files.parse(text, "own") == scenario
