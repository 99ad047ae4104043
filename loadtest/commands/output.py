"""What commands that do several runs share: where files go, how progress is shown, the fabric."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from loadtest.commands.run import default_folder
from loadtest.errors import RunFailed
from loadtest.fabric.outcome import Plan

if TYPE_CHECKING:
    from rich.console import Console

    from loadtest.search.runs import Runs


def add(parser: argparse.ArgumentParser) -> None:
    """Add where the files go and what is printed."""
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="default: reports/COMMAND-SCENARIO-TIMESTAMP"
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--quiet", action="store_true", help="print the result, not the table")
    shown.add_argument("--json", action="store_true", help="print the JSON instead of a table")


def folder(arguments: argparse.Namespace, name: str) -> Path:
    """Return where the files go, made now: a search that cannot be written is one in vain."""
    chosen: Path = arguments.out or default_folder(name)
    try:
        chosen.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFailed(f"--out {chosen}: {error.strerror}; pass another folder") from error
    return chosen


@contextmanager
def runs(arguments: argparse.Namespace, plan: Plan, chosen: Path) -> Iterator["Runs"]:
    """Yield what does runs of the plan's target, its workers kept from one to the next."""
    from loadtest.fabric import progress, run  # noqa: PLC0415  only in a gevent process
    from loadtest.search.runs import Runs  # noqa: PLC0415

    is_silent = arguments.quiet or arguments.json
    with (
        progress.shown(console(is_error=True), is_quiet=is_silent) as observe,
        run.Fabric(plan, observe) as fabric,
    ):
        yield Runs(fabric, plan, chosen, say(arguments))


def say(arguments: argparse.Namespace) -> Callable[[str], None]:
    """Return what tells people of each step; it prints beside the live table."""
    is_silent = arguments.quiet or arguments.json

    def line(text: str) -> None:
        if not is_silent:
            sys.stderr.write(f"{text}\n")

    return line


def console(*, is_error: bool = False) -> "Console":
    """Return where results are printed, or what goes on meanwhile."""
    from rich.console import Console  # noqa: PLC0415

    return Console(stderr=is_error)
