"""A comparison as a page, as Markdown and as tables for the terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as TerminalTable
from rich.text import Text

from loadtest.compare import figures, phrases
from loadtest.compare.bootstrap import TRIMMED, TRIMS_FROM
from loadtest.compare.build import Ran
from loadtest.compare.model import Comparison, MetricFigures
from loadtest.report import repeat, sheet, words
from loadtest.report.tables import Table

PAGE: Final = "compare.html"
_LOOKS: Final = {"better": "good", "no difference": "good", "worse": "bad", "INVALID": "bad"}
_MARKS: Final = {"good": "✓", "bad": "✗", "warn": "?"}
_STYLES: Final = {"good": "bold green", "bad": "bold red", "warn": "bold yellow"}


def write(found: Comparison, ran: Sequence[Ran], folder: Path) -> Path:
    """Write page, JSON and Markdown into the folder and return the path of the page."""
    files = {
        "compare.json": sheet.as_json(found),
        "compare.md": markdown(found),
        PAGE: html(found, ran),
    }
    sheet.write(folder, files)
    return folder / PAGE


def html(found: Comparison, ran: Sequence[Ran]) -> str:
    """Return the page; the latency curves are drawn from the runs."""
    look = _look(found)
    decides = found.metrics[0] if found.metrics else None
    tiles = [] if decides is None else _tiles(decides)
    values = {
        "found": found,
        "look": look,
        "mark": _MARKS[look],
        "tiles": tiles,
        "figures": {
            "intervals": figures.intervals(found),
            "runs": figures.runs(found),
            "percentiles": figures.percentiles(ran),
        },
        "tables": {"metrics": metrics(found), "runs": runs(found), "environment": _place(found)},
        "method": method(found),
        "scenario": repeat.toml(found.scenario),
        # Of runs that lie beside the page; recorded ones lie where they were.
        "folders": [run.folder for run in found.runs if "/" not in run.folder],
    }
    return sheet.render("loadtest.compare", "page.html.j2", values)


def markdown(found: Comparison) -> str:
    """Return verdict, metrics and runs to paste into a pull request."""
    parts = [
        f"## {found.verdict}: {sheet.plain(found.name)} · {sheet.plain(found.model)}, B against A",
        f"A: {sheet.plain(found.a)} · B: {sheet.plain(found.b)} · {found.started_at}",
        f"{sheet.plain(found.text)}.",
        f"{sheet.plain(found.advice)}." if found.advice else "",
        "\n".join(f"- **warning:** {sheet.plain(one)}" for one in found.warnings),
        sheet.as_markdown(metrics(found)) if found.metrics else "",
        sheet.as_markdown(runs(found)),
        sheet.plain(method(found)),
        sheet.as_markdown(_place(found)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def show(found: Comparison, page: Path, console: Console, *, is_brief: bool) -> None:
    """Print the metrics, then the verdict and why, then where the page lies."""
    if not is_brief and found.metrics:
        data = metrics(found)
        title = Text(f"{found.name} · {found.model} · B against A", style="italic")
        table = TerminalTable(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for place, name in enumerate(data.head):
            table.add_column(name, justify="right" if place else "left")
        for row in data.rows:
            table.add_row(*map(Text, row))
        console.print(table)
    console.print(Text(found.verdict, style=_STYLES[_look(found)]))
    for line in (found.text, found.advice):
        if line:
            console.print(Text(f"  {line}"), soft_wrap=True)
    for warning in found.warnings:
        console.print(Text(f"  warning: {warning}", style="yellow"), soft_wrap=True)
    console.print(Text(f"report  {page}"), soft_wrap=True)


def metrics(found: Comparison) -> Table:
    """Return every metric, the one that decides first."""
    rows = tuple(
        (
            f"{one.name} *" if one.decides else one.name,
            phrases.value(one.name, one.a),
            phrases.value(one.name, one.b),
            phrases.signed(one.ratio),
            phrases.signed(one.low),
            phrases.signed(one.high),
            one.decision,
        )
        for one in found.metrics
    )
    head = ("", "A", "B", "change", "from", "to", "verdict")
    return Table("Metrics", head, rows, "* decides")


def runs(found: Comparison) -> Table:
    """Return every run in the order in which they were done."""
    names = [one.name for one in found.metrics]
    rows = tuple(
        (
            str(place + 1),
            run.side,
            str(run.pair + 1),
            str(run.seed),
            words.count(run.answers),
            *(phrases.value(name, run.metrics[name]) for name in names),
            "VALID" if run.valid else "INVALID",
            str(run.attempts),
            run.folder,
        )
        for place, run in enumerate(found.runs)
    )
    head = ("run", "side", "pair", "seed", "answers", *names, "verdict", "attempts", "folder")
    return Table("Runs", head, rows)


def method(found: Comparison) -> str:
    """Return how the verdict came about."""
    claim = (
        f"better or worse: the whole interval is on one side of no change and the change is"
        f" {100 * found.min_effect:g} % or more. No difference: the interval excludes a change of"
        f" more than {100 * found.resolve:g} % either way. Anything else is not enough data."
    )
    if not found.metrics:
        return f"A run that is INVALID after its repeats makes the comparison INVALID. Else {claim}"
    decides = found.metrics[0]
    others = (
        f" The others are shown with intervals at {100 * found.metrics[1].level:.4g} %, so that all"
        " of them together alarm falsely once in a hundred comparisons, and decide nothing."
        if len(found.metrics) > 1
        else ""
    )
    return (
        f"{decides.name} decides, at {100 * decides.level:g} % confidence; {claim}{others}"
        f" Intervals: hierarchical bootstrap over pairs and over blocks of"
        f" {words.plural(decides.block, 'consecutive request')}, widened by Student's t for"
        f" {found.pairs} pairs."
        + (
            f" The change is a trimmed mean: {100 * TRIMMED:g} % of the pairs at either end, which"
            " something else may have disturbed, are set aside."
            if found.pairs >= TRIMS_FROM
            else ""
        )
    )


def _tiles(decides: MetricFigures) -> list[tuple[str, str]]:
    change = words.NOTHING if decides.ratio is None else phrases.change(decides.ratio)
    return [
        (f"{decides.name} of B is", change),
        (f"A, {decides.name}", phrases.value(decides.name, decides.a)),
        (f"B, {decides.name}", phrases.value(decides.name, decides.b)),
    ]


def _place(found: Comparison) -> Table:
    facts = {**found.versions, **found.machine}
    return Table("Versions and machine", (), tuple(facts.items()), is_prose=True)


def _look(found: Comparison) -> str:
    return _LOOKS.get(found.verdict, "warn")
