"""What a run looks like in the terminal."""

import io
from dataclasses import replace
from pathlib import Path

import finished_runs
import pytest
from rich.console import Console

from loadtest.fabric.outcome import Finished
from loadtest.report import terminal
from loadtest.report.build import build

# Of a terminal that is as small as people keep them.
SCREEN = 48
WIDTH = 80


def shown(run: Finished, *, is_brief: bool = False) -> str:
    output = io.StringIO()
    console = Console(file=output, width=WIDTH, color_system=None)
    terminal.show(build(run), Path("/tmp/out/report.html"), console, is_brief=is_brief)  # noqa: S108  not opened
    return output.getvalue()


@pytest.mark.parametrize(
    "name", ["steady", "overload", "steps", "mix", "silent", "nothing", "single", "streams"]
)
def test_run_fits_a_screen(name: str) -> None:
    lines = shown(getattr(finished_runs, name)()).splitlines()

    assert len(lines) <= SCREEN
    assert max(len(line) for line in lines if line.startswith(("│", "┌"))) <= WIDTH


def test_verdict_comes_with_reasons_bound_and_where_the_page_is() -> None:
    text = shown(finished_runs.overload())

    assert "INVALID\n" in text
    assert "keeps-up: " in text
    assert "lower --rate" in text
    assert "bound does not hold: p99 under 50.0 ms" in text
    assert text.endswith("report  /tmp/out/report.html\n")


def test_phases_and_owner_of_the_tail_are_named() -> None:
    text = shown(finished_runs.steps())

    assert "450/s" in text
    assert "queue" in text


def test_many_phases_are_cut() -> None:
    text = shown(finished_runs.steps(rates=tuple(range(20, 220, 10)), for_s=1.0))

    assert "and 12 more" in text


def test_hostile_text_is_neither_markup_nor_many_lines() -> None:
    run = replace(finished_runs.single(), errors={"INTERNAL: [red]boo[/red] [/nope]\n\nx": 3})

    assert "3 x  INTERNAL: [red]boo[/red] [/nope] x\n" in shown(run)


def test_brief_is_the_verdict_alone() -> None:
    assert shown(finished_runs.steady(), is_brief=True).splitlines() == [
        "VALID",
        "bound holds: p99 under 20.0 ms: 0 of 6,005 calls over it, 42 may be at 99 % confidence",
        "report  /tmp/out/report.html",
    ]
