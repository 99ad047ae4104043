"""The result of a run as a table for the terminal."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtest.report import Report, duration
from loadtest.summary import PERCENTILES, Latency
from loadtest.verdict import Verdict


def show(report: Report, page: Path, console: Console, *, is_brief: bool) -> None:
    """Print the numbers, then the verdict and its reasons, then where the page lies."""
    if not is_brief:
        console.print(_table(report))
    _show_verdict(report.verdict, console)
    console.print(f"report  {page}", soft_wrap=True, highlight=False)


def figure(latency: Latency, name: str) -> str:
    """Return a percentile, or how many samples it would need."""
    value: float | None = getattr(latency, name)
    return f"n<{latency.needed[name]}" if value is None else duration(value)


def _table(report: Report) -> Table:
    table = Table(title=f"{report.name} · {report.model} · {report.target}", show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_column(justify="right")
    throughput, latency, lag = report.throughput, report.latency_us, report.lag_us
    table.add_row("texts/s", f"{throughput.texts_per_s:.1f}", "")
    table.add_row("tokens/s", f"{throughput.tokens_per_s:.0f}", "")
    table.add_row("requests/s", f"{throughput.requests_per_s:.1f}", "")
    table.add_row(
        "offered / completed",
        f"{throughput.offered_per_s:.1f}",
        f"{throughput.completed_per_s:.1f}",
        end_section=True,
    )
    table.add_row("latency", "from schedule", "from send", style="dim")
    for name in PERCENTILES:
        table.add_row(
            name.replace("p999", "p99.9"),
            figure(latency.from_schedule, name),
            figure(latency.from_send, name),
        )
    table.add_row(
        "max",
        duration(latency.from_schedule.max),
        duration(latency.from_send.max),
        end_section=True,
    )
    table.add_row(f"generator lag ({lag.of}) p50", duration(lag.p50), "")
    table.add_row("generator lag p99 / max", duration(lag.p99), duration(lag.max), end_section=True)
    for code, count in report.codes.items():
        table.add_row("answers" if code == "OK" else "errors", code, str(count))
    return table


def _show_verdict(verdict: Verdict, console: Console) -> None:
    console.print(Text(verdict.word, style="bold green" if verdict.valid else "bold red"))
    for reason in verdict.reasons:
        console.print(f"  {reason.rule}: {reason.text}", highlight=False, soft_wrap=True)
        console.print(f"    {reason.advice}", style="dim", highlight=False, soft_wrap=True)
