"""Results of searches and sweeps in every format."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from finished_runs import finished, poisson, rows
from rich.console import Console

from loadtest.fabric.outcome import Finished
from loadtest.report.build import build
from loadtest.report.model import Report
from loadtest.report.plot.style import SENTINEL
from loadtest.scenario.schema import Open
from loadtest.search import page, phrases
from loadtest.search.model import Capacity, Point, Probe, Subject, Sweep
from loadtest.search.peak import End, Ended, Outcome, Stage
from loadtest.search.runs import summary, was_stopped_full


def run(rate: float) -> Finished:
    scenario = Open(rate=rate, duration_s=5.0, warmup_s=0.0, bound_ms=10.0)
    return finished(scenario, rows(poisson(rate, 0, 5), 0.0))


REPORTS: dict[float, Report] = {rate: build(run(rate)) for rate in (100, 200, 400)}
SUBJECT = Subject(
    name="server", scenario=Open(rate=1.0, description="<b>"), target="host:1", model="m|n",
    started_at="2026-01-01T00:00:00+00:00", versions={"numpy": "2"}, machine={"cores": "2"},
)  # fmt: skip


def probe(stage: Stage, rate: float, outcome: Outcome) -> Probe:
    return Probe(
        stage=stage, rate=rate, outcome=outcome, percentile_us=8000 * rate / 100, over=3,
        allowed_over=10, run=summary(REPORTS[rate], f"01-{stage}-{rate:g}"),
    )  # fmt: skip


def capacity(reason: Ended = "found", rate: float | None = 200) -> Capacity:
    tried = (
        probe("widen", 100, "holds"),
        probe("widen", 200, "holds"),
        probe("widen", 400, "fails"),
        probe("confirm", 200, "holds"),
    )
    text, advice = phrases.capacity(End(reason, rate or 400), tried, "p99 under 10 ms", 1, 1)
    return Capacity(
        subject=SUBJECT, percentile=99, bound_ms=10, rate=rate, fails_at=400, ended=reason,
        text=text, advice=advice, confirmations=1, width=0.05, tried=tried,
    )  # fmt: skip


def sweep() -> Sweep:
    points = tuple(
        Point(
            level=rate, state="overloaded" if rate == 400 else "valid", is_knee=rate == 200,
            is_saturation=rate == 200, run=summary(REPORTS[rate], f"{rate:g}"),
        )
        for rate in REPORTS
    )  # fmt: skip
    text, advice = phrases.sweep("rate", points, 1)
    return Sweep(
        subject=SUBJECT, over="rate", knee=200, saturation=200, text=text, advice=advice,
        points=points,
    )  # fmt: skip


SHEETS: dict[str, Callable[[], page.Sheet]] = {
    "capacity": lambda: page.of_capacity(capacity()),
    "no capacity": lambda: page.of_capacity(capacity("generator", None)),
    "sweep": lambda: page.of_sweep(sweep()),
}


@pytest.mark.parametrize("name", SHEETS)
def test_the_page_stands_alone_and_begins_with_the_result(name: str) -> None:
    sheet = SHEETS[name]()

    text = page.html(sheet)

    assert text.index(sheet.headline) < text.index("<svg")
    assert "<script" not in text
    assert "<b>&lt;b&gt;" not in text
    assert "&lt;b&gt;" in text
    assert not SENTINEL.search(text)
    for folder in sheet.folders:
        assert f'href="{folder}/report.html"' in text


def test_the_files_say_the_same(tmp_path: Path) -> None:
    found = sweep()

    written = page.write(page.of_sweep(found), tmp_path)

    assert written == tmp_path / "sweep.html"
    data = json.loads((tmp_path / "sweep.json").read_text())
    assert msgspec.convert(data, Sweep) == found
    table = list(csv.DictReader(io.StringIO((tmp_path / "sweep.csv").read_text())))
    assert [float(row["level"]) for row in table] == [100, 200, 400]
    assert [row["is_knee"] for row in table] == ["false", "true", "false"]
    assert float(table[0]["p50_us"]) == found.points[0].run.latency_us.p50
    # A percentile without its samples is not in any file.
    assert table[0]["p999_us"] == ""
    markdown = (tmp_path / "sweep.md").read_text()
    assert markdown.startswith("## Sweep over rates: knee at 200 calls/s · server · m\\|n")


def test_what_is_printed_fits_a_terminal() -> None:
    for make in SHEETS.values():
        buffer = io.StringIO()
        console = Console(file=buffer, width=80)
        sheet = make()
        page.show(sheet, Path("x.html"), console, is_brief=False)
        assert sheet.headline in buffer.getvalue()
        assert "…" not in buffer.getvalue()


@pytest.mark.parametrize(
    ("reason", "said", "advised"),
    [
        ("found", "200.0 calls/s hold p99 under 10 ms, in 1 more run", ""),
        ("highest", "no higher rate was looked for", "--to"),
        ("none", "even 200.0 calls/s do not hold", "--bound-ms"),
        ("unconfirmed", "no rate held p99 under 10 ms in 1 more run", "--duration"),
        ("generator", "the generator, not the server, is the limit at 200.0/s", "--workers 2"),
        ("too-long", "would take too long", "--max-duration"),
        ("unclear", "says nothing about the server", "again"),
    ],
)
def test_every_end_says_what_to_do(reason: Ended, said: str, advised: str) -> None:
    found = capacity(reason)

    assert said in found.text
    assert advised in found.advice


def test_a_run_that_hit_its_limit_was_stopped_full() -> None:
    # The shares say 41 calls in flight in each of two processes.
    stopped = finished(
        Open(rate=100, duration_s=5.0, max_in_flight=82),
        rows(poisson(100, 0, 5), 0.0),
        disturbances=("41 calls of one process were in flight, the safety limit",),
    )
    roomy = finished(
        Open(rate=100, duration_s=5.0, max_in_flight=83),
        rows(poisson(100, 0, 5), 0.0),
        disturbances=("a worker was lost",),
    )

    assert was_stopped_full(stopped)
    assert not was_stopped_full(roomy)
    assert not was_stopped_full(run(100))
