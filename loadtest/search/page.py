"""A search or a sweep as page, JSON, CSV, Markdown and for the terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as TerminalTable
from rich.text import Text

from loadtest.report import repeat, sheet, words
from loadtest.report.tables import Table
from loadtest.search import figures, phrases
from loadtest.search.knee import GROWTH
from loadtest.search.model import Capacity, Point, Probe, Run, Subject, Sweep

_SHOWN: Final = ("p50", "p95", "p99")
# Rate, why, outcome, answered/s, percentile, over, may be; level, state, answered/s,
# mean, p95, p99 and the marks.
_BRIEF_TRIED: Final = (0, 1, 2, 5, 6, 7, 8)
_BRIEF_POINTS: Final = (0, 1, 2, 3, 5, 6, 9)


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What every format is made from."""

    stem: str
    what: str
    headline: str
    is_good: bool
    text: str
    advice: str
    subject: Subject
    tiles: Sequence[tuple[str, str]]
    figures: Sequence[tuple[str, str | None, str]]
    runs: Table
    # Columns that a terminal of 80 has room for.
    brief: Sequence[int]
    # The same as plain numbers, for CSV.
    numbers: Sequence[Mapping[str, object]]
    folders: Sequence[str]
    method: str
    value: msgspec.Struct


def of_capacity(found: Capacity) -> Sheet:
    """Return a search's sheet."""
    claim = phrases.bound(found.percentile, found.bound_ms)
    is_found = found.rate is not None
    tiles = [
        (claim, f"{words.rate(found.rate)}/s" if is_found else words.NOTHING),
        (
            "fails at",
            words.NOTHING if found.fails_at is None else f"{words.rate(found.fails_at)}/s",
        ),
        ("runs", words.count(len(found.tried))),
    ]
    return Sheet(
        stem="capacity",
        what="Capacity",
        headline=f"{words.rate(found.rate)} calls/s" if is_found else "no capacity found",
        is_good=is_found,
        text=found.text,
        advice=found.advice,
        subject=found.subject,
        tiles=tiles,
        figures=[
            (
                "What was tried",
                figures.tried(found),
                "One mark per run. Hollow: a confirming run with a seed of its own.",
            )
        ],
        runs=_tried(found),
        brief=_BRIEF_TRIED,
        numbers=[_numbers(one, one.run) for one in found.tried],
        folders=[one.run.folder for one in found.tried],
        method=_how_found(found),
        value=found,
    )


def of_sweep(found: Sweep) -> Sheet:
    """Return a sweep's sheet."""
    unit = "in flight" if found.over == "in-flight" else "calls/s"
    levels = {"knee": found.knee, "no more growth from": found.saturation}
    is_good = all(point.state in {"valid", "overloaded"} for point in found.points)
    return Sheet(
        stem="sweep",
        what=f"Sweep over {'calls in flight' if found.over == 'in-flight' else 'rates'}",
        headline=words.NOTHING if found.knee is None else f"knee at {found.knee:.4g} {unit}",
        is_good=is_good and found.knee is not None,
        text=found.text,
        advice=found.advice,
        subject=found.subject,
        tiles=[
            (name, words.NOTHING if level is None else f"{level:.4g} {unit}")
            for name, level in levels.items()
        ],
        figures=[
            (
                "Latency against throughput",
                figures.throughput_latency(found),
                "One point per level.",
            ),
            ("Throughput over load", figures.throughput(found), ""),
        ],
        runs=_points(found),
        brief=_BRIEF_POINTS,
        numbers=[_numbers(point, point.run) for point in found.points],
        folders=[point.run.folder for point in found.points],
        method=_how_swept(found),
        value=found,
    )


def write(one: Sheet, folder: Path) -> Path:
    """Write JSON, CSV, Markdown and the page into the folder; return the path of the page."""
    page = f"{one.stem}.html"
    files = {
        f"{one.stem}.json": sheet.as_json(one.value),
        f"{one.stem}.csv": sheet.as_csv(one.numbers),
        f"{one.stem}.md": markdown(one),
        page: html(one),
    }
    sheet.write(folder, files)
    return folder / page


def html(one: Sheet) -> str:
    """Return the page."""
    values = {name: getattr(one, name) for name in Sheet.__dataclass_fields__}
    values["environment"] = _environment(one.subject)
    values["scenario"] = repeat.toml(one.subject.scenario)
    values["beside"] = [f"{one.stem}.{ending}" for ending in ("json", "csv", "md")]
    return sheet.render("loadtest.search", "page.html.j2", values)


def markdown(one: Sheet) -> str:
    """Return result and runs to paste into a pull request."""
    subject = one.subject
    where = f"{sheet.plain(subject.name)} · {sheet.plain(subject.model)}"
    parts = [
        f"## {one.what}: {sheet.plain(one.headline)} · {where}",
        f"{sheet.plain(subject.target)} · {subject.started_at}",
        f"{sheet.plain(one.text)}.",
        f"{sheet.plain(one.advice)}." if one.advice else "",
        sheet.as_markdown(one.runs) if one.runs.rows else "",
        sheet.plain(one.method),
        sheet.as_markdown(_environment(subject)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def show(one: Sheet, page: Path, console: Console, *, is_brief: bool) -> None:
    """Print the runs, then the result, then where the page lies."""
    if not is_brief:
        title = f"{one.subject.name} · {one.subject.model} · {one.subject.target}"
        table = TerminalTable(
            title=Text(title, style="italic"), box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
        )
        for place in one.brief:
            table.add_column(one.runs.head[place], justify="right" if place else "left")
        for row in one.runs.rows:
            table.add_row(*(Text(row[place]) for place in one.brief))
        console.print(table)
    console.print(Text(one.headline, style="bold green" if one.is_good else "bold red"))
    for line in (one.text, one.advice):
        if line:
            console.print(Text(f"  {line}"), soft_wrap=True)
    console.print(Text(f"report  {page}"), soft_wrap=True)


def _tried(found: Capacity) -> Table:
    name = f"p{found.percentile:g}"
    rows = tuple(_row(one) for one in found.tried)
    head = ("rate", "why", "outcome", "seconds", "seed", "answered/s", name, "over", "may be")
    return Table("Runs", (*head, "lag p99", "verdict", "folder"), rows)


def _row(one: Probe) -> tuple[str, ...]:
    return (
        f"{words.rate(one.rate)}/s",
        one.stage,
        one.outcome,
        words.number(one.run.measured_s),
        str(one.run.seed),
        words.rate(one.run.answered_per_s),
        words.duration(one.percentile_us),
        words.count(one.over),
        words.count(one.allowed_over),
        words.duration(one.run.lag_p99_us),
        _verdict(one.run),
        one.run.folder,
    )


def _points(found: Sweep) -> Table:
    rows = tuple(
        (
            f"{point.level:.4g}",
            point.state,
            words.rate(point.run.answered_per_s),
            words.duration(point.run.latency_us.mean),
            *(words.claim(point.run.latency_us, name) for name in _SHOWN),
            words.number(point.run.in_flight),
            words.count(point.run.errors),
            " · ".join(
                name
                for name, is_one in (
                    ("knee", point.is_knee),
                    ("flat", point.is_saturation),
                )
                if is_one
            ),
            _verdict(point.run),
            point.run.folder,
        )
        for point in found.points
    )
    first = "in flight" if found.over == "in-flight" else "offered/s"
    head = (first, "state", "answered/s", "mean", *_SHOWN, "mean in flight", "errors", "")
    return Table("Levels", (*head, "verdict", "folder"), rows)


def _numbers(one: Probe | Point, run: Run) -> dict[str, object]:
    """Return a run's values by name, latencies by theirs, as JSON has them."""
    values = {name: value for name, value in msgspec.structs.asdict(one).items() if name != "run"}
    values |= {
        name: value
        for name, value in msgspec.structs.asdict(run).items()
        if name not in {"latency_us", "reasons"}
    }
    latency = msgspec.structs.asdict(run.latency_us)
    values |= {f"{name}_us": latency[name] for name in ("mean", *words.LABELS, "max")}
    return values | {"broken": " ".join(reason.rule for reason in run.reasons)}


def _verdict(run: Run) -> str:
    broken = ", ".join(reason.rule for reason in run.reasons)
    return "VALID" if run.valid else f"INVALID: {broken}"


def _environment(subject: Subject) -> Table:
    facts = {**subject.versions, **subject.machine}
    return Table("Versions and machine", (), tuple(facts.items()), is_prose=True)


def _how_found(found: Capacity) -> str:
    return (
        "Rates were doubled until one held and one did not, then the gap between them was halved"
        f" until it was {100 * found.width:g} % wide. A run holds its rate when it is VALID and so"
        f" few of its calls are over {found.bound_ms:g} ms that p{found.percentile:g} is under it"
        " at 99 % confidence (binomial); failed calls count as over. The rate that was found had"
        f" to hold in {words.plural(found.confirmations, 'more run')} with seeds of their own;"
        " one that did not was stepped down from. A run whose generator was late was repeated"
        " and says nothing about the server."
    )


def _how_swept(found: Sweep) -> str:
    return (
        "Each level is a run of its own with the same texts. The knee is the VALID level with the"
        " greatest power, throughput over mean latency (Kleinrock, 1979). Throughput is flat, and"
        f" no longer grows, from the first level that is within {100 * GROWTH:g} % of the most."
        + (
            " Overloaded levels are INVALID by design: their throughput counts, their latency"
            " is that of a queue without end."
            if any(point.state == "overloaded" for point in found.points)
            else ""
        )
    )
