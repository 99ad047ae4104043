"""docs/loadtest.md names every scenario, rule and stage there is, and its commands parse."""

import re
import shlex
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from loadtest import cli
from loadtest.analysis.breakdown import STAGES
from loadtest.analysis.confidence import minimum_samples
from loadtest.analysis.figures import Reason
from loadtest.commands import codes
from loadtest.scenario.files import packaged, parse

FOLDER = Path(__file__).parents[2] / "docs"
PAGE = (FOLDER / "loadtest.md").read_text()
BLOCKS = [
    text for kind, text in re.findall(r"^```(\w*)\n(.+?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    if not kind
]  # fmt: skip
COMMANDS = [
    line.partition(" #")[0]
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("heed-load ")
]


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_column(text: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def test_every_scenario_is_described() -> None:
    assert sorted(first_column(section("Scenarios"))) == packaged()


def test_every_rule_is_described_in_its_order() -> None:
    rules = get_args(get_type_hints(Reason)["rule"])

    assert first_column(section("Verdict")) == list(rules)


def test_every_stage_is_described_in_its_order() -> None:
    assert first_column(section("Breakdown")) == list(STAGES)


def test_sample_counts_are_those_of_the_rule() -> None:
    rows = re.findall(r"^\| p([\d.]+) \| (.+) \|$", section("Verdict"), re.MULTILINE)

    assert len(rows) == 4
    for percentile, counts in rows:
        found = [int(count.replace(",", "")) for count in counts.split(" | ")]
        assert found == [minimum_samples(float(percentile), over) for over in (0, 1, 10)]


def test_the_example_scenario_is_one() -> None:
    (example,) = re.findall(r"```toml\n(.+?)```", PAGE, re.DOTALL)

    scenario = parse(example, "example")

    assert [request.rpc for request in scenario.requests] == ["embed", "rerank"]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command: str) -> None:
    words = shlex.split(command.replace("server ... ", "server --target HOST:1 --model NAME "))

    arguments = cli.parser().parse_args([word.replace("...", "HOST:1") for word in words[1:]])

    assert arguments.command == words[1]


def test_commands_were_found() -> None:
    assert {shlex.split(command)[1] for command in COMMANDS} == {
        "list", "run", "worker", "capacity", "sweep", "compare",
    }  # fmt: skip


def test_every_exit_code_is_described() -> None:
    listed = re.findall(r"^\| (\d) \|", section("Exit codes"), re.MULTILINE)

    names = [codes.OK, codes.FAILED, codes.USAGE, codes.INVALID, codes.OVER]
    assert [int(code) for code in listed] == names


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (FOLDER / link).exists(), link
    titles = {title.lower().replace(" ", "-").replace(",", "") for title in
              re.findall(r"^## (.+)$", PAGE, re.MULTILINE)}  # fmt: skip
    assert set(re.findall(r"\(#([^)]+)\)", PAGE)) <= titles
