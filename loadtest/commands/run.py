"""`heed-load run`: one run, one report, one verdict."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest.commands import codes, options
from loadtest.errors import RunFailed

if TYPE_CHECKING:
    from loadtest.report.model import Report


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "run", help="run one scenario and write a report", epilog=codes.MEANING
    )
    options.add(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="default: reports/SCENARIO-TIMESTAMP"
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--quiet", action="store_true", help="print the verdict, not the table")
    output.add_argument("--json", action="store_true", help="print report.json instead of a table")
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Do the run, write its files, print what came of it."""
    plan = options.plan(arguments)
    folder = arguments.out or default_folder(plan.name)
    _make(folder)

    # Everything that takes part is imported before the run, so that nothing can be missing after.
    from rich.console import Console  # noqa: PLC0415

    from loadtest.fabric import progress, run  # noqa: PLC0415
    from loadtest.report import build, terminal, write  # noqa: PLC0415

    is_silent = arguments.quiet or arguments.json
    if plan.web_port is not None:
        sys.stderr.write(f"Locust's page: http://127.0.0.1:{plan.web_port}\n")
    with progress.shown(Console(stderr=True), is_quiet=is_silent) as observe:
        finished = run.execute(plan, observe)
    report = build.build(finished)
    page = write.write(report, finished.calls, folder)
    if arguments.json:
        sys.stdout.write((folder / "report.json").read_text(encoding="utf-8").rstrip() + "\n")
    else:
        terminal.show(report, page, Console(), is_brief=arguments.quiet)
    return code(report)


def code(report: "Report") -> int:
    """Return the exit code that a report deserves."""
    if not report.verdict.valid:
        return codes.INVALID
    return codes.OK if report.bound is None or report.bound.holds else codes.OVER


def default_folder(name: str) -> Path:
    """Return where a run's files go when nobody says."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    return Path("reports") / f"{name}-{stamp}"


def _make(folder: Path) -> None:
    """Make the folder now: a run whose report cannot be written is a run in vain."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFailed(f"--out {folder}: {error.strerror}; pass another folder") from error
