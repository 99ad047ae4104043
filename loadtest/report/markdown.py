"""The page of a run to paste into a pull request."""

import html
import re

from loadtest.report import repeat, tables, text
from loadtest.report.model import Report
from loadtest.report.sheet import as_markdown, plain


def markdown(report: Report) -> str:
    """Return verdict, percentiles, breakdown and environment as Markdown."""
    verdict = report.verdict
    parts = [
        f"## {verdict.word}: {plain(report.name)} · {plain(report.model)}",
        f"{plain(report.target)} · {text.started(report)}",
        plain(text.held(verdict)),
        "\n".join(_notes(report)),
        as_markdown(tables.latency(report)),
        *_breakdown(report),
        *[as_markdown(one) for one in _tables(report) if one.rows],
        _fenced("How to repeat it", repeat.command(report), "sh"),
        _folded(f"{report.name}.toml", repeat.toml(report.scenario), "toml"),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _notes(report: Report) -> list[str]:
    notes = [
        f"- **{one.rule}:** {plain(one.text)}. {plain(one.advice)}."
        for one in report.verdict.reasons
    ]
    if report.bound is not None:
        holds = "holds" if report.bound.holds else "does not hold"
        notes.append(f"- **bound {holds}:** {plain(text.bound(report.bound))}")
    return [*notes, *(f"- **warning:** {plain(one)}" for one in report.verdict.warnings)]


def _breakdown(report: Report) -> list[str]:
    if report.breakdown is None:
        return []
    parts = ["### Where the time goes", plain(report.breakdown.tail_text)]
    if report.breakdown.slices:
        parts.append(as_markdown(tables.slices(report.breakdown)))
    return parts


def _tables(report: Report) -> list[tables.Table]:
    found = [tables.flow(report), tables.answers(report), tables.errors(report)]
    if len(report.phases) > 1:
        found.append(tables.phases(report))
    if len(report.requests) > 1:
        found.append(tables.requests(report))
    more = (tables.workers, tables.processes, tables.machine)
    return [*found, *(one(report) for one in more)]


def _fenced(title: str, content: str, language: str) -> str:
    return f"### {title}\n\n{_fence(content, language)}"


def _folded(title: str, content: str, language: str) -> str:
    summary = f"<details><summary>{html.escape(title)}</summary>"
    return f"{summary}\n\n{_fence(content, language)}\n\n</details>"


def _fence(content: str, language: str) -> str:
    """Return a block of code behind a fence that is longer than any in it."""
    longest = max(map(len, re.findall(r"`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{content.rstrip()}\n{fence}"
