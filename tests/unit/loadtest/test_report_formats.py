"""JSON, CSV and Markdown say what the page says."""

import csv
import functools
import io
import json
import re
from typing import Any

import finished_runs
import pytest

from loadtest.fabric.outcome import Finished
from loadtest.report import flat, tables, words
from loadtest.report.build import build
from loadtest.report.markdown import markdown
from loadtest.report.model import Report
from loadtest.report.page import html
from loadtest.report.write import encode

RUNS = ("steady", "mix", "silent", "single", "streams")


@functools.cache
def run(name: str) -> Finished:
    made: Finished = getattr(finished_runs, name)()
    return made


@functools.cache
def report(name: str) -> Report:
    return build(run(name))


@functools.cache
def rows(name: str) -> dict[tuple[str, str], tuple[str, str]]:
    head, *body = csv.reader(io.StringIO(flat.table(report(name))))
    assert tuple(head) == flat.HEAD
    found = {(section, key): (value, unit) for section, key, value, unit in body}
    assert len(found) == len(body), "a name stands for one value"
    return found


def leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = [(str(place), item) for place, item in enumerate(value)]  # type: ignore[assignment]
    else:
        return [(path, value)]
    return [leaf for key, item in pairs for leaf in leaves(item, (*path, key))]


@pytest.mark.parametrize("name", RUNS)
def test_csv_has_every_value_of_the_json(name: str) -> None:
    data = json.loads(encode(report(name)))
    table = rows(name)

    for section in set(data) - {"series", "histogram_us", "samples"}:
        for path, value in leaves(data[section]):
            text = table[section, ".".join(path).removeprefix("'")][0]
            if isinstance(value, bool):
                assert text == str(value).lower()
            elif isinstance(value, int | float):
                assert float(text) == value
            elif value is None:
                assert text == "" or re.fullmatch(r"n<\d+", text)
            else:
                assert text == value


def test_csv_has_the_series_by_time() -> None:
    series = report("steady").series

    for name in ("completed_per_s", "p50_us", "in_flight"):
        for start_s, value in zip(series.start_s, getattr(series, name), strict=True):
            assert float(rows("steady")["series", f"{name} at {start_s:g} s"][0]) == value


@pytest.mark.parametrize(
    ("key", "unit"),
    [
        (("latency_us", "from_schedule.p99"), "us"),
        (("latency_us", "from_schedule.samples"), ""),
        (("latency_us", "from_schedule.needed.p99"), ""),
        (("throughput", "tokens_per_s"), "1/s"),
        (("measured_s", ""), "s"),
        (("bound", "bound"), "us"),
        (("bound", "percentile"), "%"),
        (("bound", "over"), ""),
        (("breakdown", "slices.1.stages.queue"), "us"),
        (("breakdown", "slices.1.calls"), ""),
        (("requests", "0.latency_us.max"), "us"),
        (("requests", "0.calls"), ""),
        (("workers", "0.lag_p99_us"), "us"),
        (("workers", "0.most_in_flight"), ""),
        (("workers", "0.cpu_us_per_call"), "us"),
        (("telemetry", "server.cpu_ms_per_call"), "ms"),
        (("telemetry", "server.rss_most_bytes"), "bytes"),
        (("telemetry", "host_busy_cores"), "cores"),
        (("telemetry", "mhz_mean"), "MHz"),
        (("scenario", "rate"), "1/s"),
        (("scenario", "max_error_rate"), ""),
        (("codes", "OK"), ""),
    ],
)
def test_csv_names_the_unit(key: tuple[str, str], unit: str) -> None:
    assert rows("steady")[key][1] == unit


@pytest.mark.parametrize("format_", ["json", "csv", "md", "html"])
def test_no_format_has_a_percentile_without_its_samples(format_: str) -> None:
    found = report("single")
    latency = found.latency_us.from_schedule
    assert latency.max is not None
    if format_ == "json":
        clock = json.loads(encode(found))["latency_us"]["from_schedule"]
        assert [clock[name] for name in words.LABELS] == [None] * 5
    elif format_ == "csv":
        texts = [rows("single")["latency_us", f"from_schedule.{name}"][0] for name in words.LABELS]
        assert texts == [f"n<{latency.needed[name]}" for name in words.LABELS]
    else:
        text = markdown(found) if format_ == "md" else html(found, run("single").calls)
        for needed in latency.needed.values():
            assert f"n&lt;{needed}" in text


@pytest.mark.parametrize("name", RUNS)
def test_markdown_and_page_have_the_same_figures(name: str) -> None:
    found = report(name)
    text, page = markdown(found), html(found, run(name).calls)
    shown = [
        tables.latency(found),
        tables.flow(found),
        tables.answers(found),
        tables.workers(found),
    ]

    for data in shown:
        for row in data.rows:
            for cell in row:
                escaped = cell.replace("<", "&lt;")
                assert escaped in page
                assert escaped.replace("_", r"\_") in text
    assert found.verdict.word in text
    if found.breakdown:
        assert found.breakdown.tail_text in text
        assert found.breakdown.tail_text in page


def test_markdown_shows_texts_as_they_are() -> None:
    text = markdown(report("mix"))

    assert "<script" not in text
    assert r"\`code\` \[link\](" in text
    cells = next(line for line in text.splitlines() if "alert" in line)
    # The hostile text's own bar is escaped, its line break gone.
    assert len(re.findall(r"(?<!\\)\|", cells)) == 3


def test_csv_holds_no_formula_and_any_text() -> None:
    names = [name for section, name in rows("mix") if section == "errors"]

    assert f"UNAVAILABLE: {finished_runs.HOSTILE}" in names
    assert flat._safe("=1+1") == "'=1+1"  # noqa: SLF001  no text of ours begins so
    assert not [value for value, _ in rows("mix").values() if value.startswith(("=", "+", "@"))]
