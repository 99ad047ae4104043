"""Show a run while it goes on: redrawn in place on a terminal, a line now and then elsewhere.

Works nothing out; see `glimpse`.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from loadtest.fabric.glimpse import Glimpse, Observer

_LINE_EVERY_S: Final = 5.0
_BAR_WIDTH: Final = 24


@contextmanager
def shown(console: Console, *, is_quiet: bool = False) -> Iterator[Observer]:
    """Yield what shows each glimpse that it is called with, until the end of the block."""
    if is_quiet:
        yield lambda _: None
    elif console.is_terminal:
        # Redrawn when there is something new; a thread of its own would be one more greenlet.
        with Live(console=console, auto_refresh=False, transient=True) as live:
            yield lambda glimpse: live.update(table(glimpse), refresh=True)
    else:
        yield _Lines(console)


def table(glimpse: Glimpse) -> Group:
    """Return the run as a line of progress over a row of figures."""
    head = Table.grid(padding=(0, 2))
    clock = (_bar(glimpse), _clock(glimpse)) if glimpse.elapsed_s else ()
    head.add_row(f"[bold]{escape(glimpse.name)}[/]", escape(glimpse.stage), *clock)
    figures = Table(box=None, padding=(0, 2, 0, 0), show_header=bool(glimpse.elapsed_s))
    for name, _ in _figures(glimpse):
        figures.add_column(name, justify="right", header_style="dim")
    if glimpse.elapsed_s:
        figures.add_row(*(value for _, value in _figures(glimpse)))
    return Group(head, figures)


def line(glimpse: Glimpse) -> str:
    """Return the run as one line."""
    head = f"{glimpse.name}: {glimpse.stage}"
    if not glimpse.elapsed_s:
        return head
    figures = ", ".join(f"{name} {value}" for name, value in _figures(glimpse))
    return f"{head}, {_clock(glimpse)}, {figures}"


class _Lines:
    """Prints a line every few seconds, and one whenever the stage is another."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said = ("", "")
        self._at_s = 0.0

    def __call__(self, glimpse: Glimpse) -> None:
        now_s = time.monotonic()
        stage = (glimpse.name, glimpse.stage)
        if stage == self._said and now_s - self._at_s < _LINE_EVERY_S:
            return
        self._said, self._at_s = stage, now_s
        self._console.print(line(glimpse), soft_wrap=True, highlight=False, markup=False)


def _figures(glimpse: Glimpse) -> list[tuple[str, str]]:
    """Return what is known, in the order in which it is read."""
    known = [
        ("offered/s", _number(glimpse.offered_per_s)),
        ("answered/s", _number(glimpse.answered_per_s)),
        ("p50 ms", _number(glimpse.p50_ms)),
        ("p99 ms", _number(glimpse.p99_ms)),
        ("in flight", None if glimpse.in_flight is None else str(glimpse.in_flight)),
        ("errors", str(glimpse.errors)),
        ("lag p99 ms", _number(glimpse.lag_ms)),
        ("workers", str(glimpse.workers) if glimpse.workers > 1 else None),
    ]
    return [(name, value) for name, value in known if value is not None]


def _number(value: float | None) -> str | None:
    """Return three digits that are worth reading."""
    if value is None:
        return None
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004  (three digits)


def _clock(glimpse: Glimpse) -> str:
    total = "" if glimpse.total_s is None else f"/{glimpse.total_s:.0f}"
    return f"{glimpse.elapsed_s:.0f}{total} s"


def _bar(glimpse: Glimpse) -> str:
    if glimpse.total_s is None:
        return ""
    filled = round(_BAR_WIDTH * min(glimpse.elapsed_s / glimpse.total_s, 1.0))
    return "━" * filled + "[dim]" + "━" * (_BAR_WIDTH - filled) + "[/]"
