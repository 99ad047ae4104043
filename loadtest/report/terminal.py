"""The result of a run for the terminal: one screen of numbers, then the verdict and its reasons."""

from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtest.analysis.figures import Verdict
from loadtest.report import tables, text, words
from loadtest.report.model import Report

# More phases, errors or warnings than these are on the page.
_MOST_PHASES: Final = 8
_MOST_ERRORS: Final = 3
_MOST_WARNINGS: Final = 4
# Columns of the phases that a terminal of 80 has room for.
_OF_PHASES: Final = (0, 2, 3, 6, 8, 9)
# Four clocks side by side leave room for no more.
_SHORT: Final = {
    "from schedule": "schedule",
    "from send": "send",
    "first response": "first",
    "99 % ceiling": "ceiling",
}
_ERROR_WIDTH: Final = 76


def show(report: Report, page: Path, console: Console, *, is_brief: bool) -> None:
    """Print the numbers, then the verdict and its reasons, then where the page lies."""
    if not is_brief:
        console.print(_table(report))
        if len(report.phases) > 1:
            console.print(_phases(report))
        if report.breakdown is not None:
            _say(console, report.breakdown.tail_text)
        _errors(report, console)
    _verdict(report.verdict, console)
    if report.bound is not None:
        holds = "holds" if report.bound.holds else "does not hold"
        line = Text(f"bound {holds}: ", style="green" if report.bound.holds else "red")
        console.print(line + Text(text.bound(report.bound), style=""), soft_wrap=True)
    _say(console, f"report  {page}")


def _table(report: Report) -> Table:
    title = Text(f"{report.name} · {report.model} · {report.target}", style="italic")
    table = Table(title=title, show_header=False)
    table.add_column(style="dim")
    latency = tables.latency(report)
    for _ in latency.head[1:]:
        table.add_column(justify="right")
    flow = report.throughput
    passed = {
        "calls, texts, tokens/s": (flow.requests_per_s, flow.texts_per_s, flow.tokens_per_s),
        "offered, ended/s": (flow.offered_per_s, flow.completed_per_s),
    }
    for name, values in passed.items():
        table.add_row(name, *map(words.rate, values), end_section=name.startswith("offered"))
    table.add_row("latency", *(_SHORT.get(name, name) for name in latency.head[1:]), style="dim")
    for row in latency.rows:
        table.add_row(*row, end_section=row is latency.rows[-1])
    table.add_row("lag p50, p99, max", *tables.late(report.lag_us), end_section=True)
    for row in tables.answers(report).rows:
        table.add_row(*row)
    return table


def _phases(report: Report) -> Table:
    data = tables.phases(report)
    table = Table(show_edge=False, pad_edge=False)
    for place in _OF_PHASES:
        table.add_column(data.head[place], justify="right" if place else "left", style=None)
    for row in data.rows[:_MOST_PHASES]:
        table.add_row(*(Text(row[place]) for place in _OF_PHASES))
    left = len(data.rows) - _MOST_PHASES
    if left > 0:
        table.add_row(Text(f"and {left} more", style="dim"))
    return table


def _errors(report: Report, console: Console) -> None:
    shown = list(report.errors.items())[:_MOST_ERRORS]
    for message, many in shown:
        line = " ".join(message.split())
        short = line if len(line) <= _ERROR_WIDTH else f"{line[: _ERROR_WIDTH - 1]}…"
        console.print(Text(f"{words.count(many)} x  {short}", style="red"), soft_wrap=True)
    left = len(report.errors) - len(shown)
    if left > 0:
        console.print(Text(f"and {left} more texts on the page", style="dim"))


def _verdict(verdict: Verdict, console: Console) -> None:
    console.print(Text(verdict.word, style="bold green" if verdict.valid else "bold red"))
    for reason in verdict.reasons:
        _say(console, f"  {reason.rule}: {reason.text}")
        console.print(Text(f"    {reason.advice}", style="dim"), soft_wrap=True)
    for warning in verdict.warnings[:_MOST_WARNINGS]:
        console.print(Text(f"  warning: {warning}", style="yellow"), soft_wrap=True)
    left = len(verdict.warnings) - _MOST_WARNINGS
    if left > 0:
        console.print(Text(f"  and {left} more warnings on the page", style="dim"))


def _say(console: Console, line: str) -> None:
    # As text: brackets in a name or a message are not rich's markup.
    console.print(Text(line), soft_wrap=True)
