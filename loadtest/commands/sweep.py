"""`heed-load sweep`: throughput and latency over a load that grows, with its knee."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Final, Literal

from loadtest.commands import codes, options, output
from loadtest.commands.options import BadOption
from loadtest.search.peak import HIGHEST

_MEANING: Final = (
    "exit codes: 0 a curve with a knee, 1 could not be done, 2 usage, 3 a level says nothing of"
    " the server (late generator, disturbed, too short)"
)
_MOST_LEVELS: Final = 50
_MOST_IN_FLIGHT: Final = 65536


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "sweep",
        help="throughput and latency at several loads, with the knee",
        description="One run per level. Over in-flight the loop is closed, over rate it is open;"
        " texts and calls are the scenario's. Without levels they are doubled until throughput"
        " no longer grows.",
        epilog=_MEANING,
    )
    options.add(parser)
    parser.add_argument(
        "--over",
        nargs="+",
        default=["in-flight"],
        metavar=("in-flight|rate", "LEVELS"),
        help="what grows, and perhaps its levels: in-flight 1,2,4,8 or rate 50,100,200"
        " (default: in-flight)",
    )
    output.add(parser)
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Run every level, write the curve, print it."""
    over, levels = levels_of(arguments.over)
    if arguments.rate is not None or arguments.in_flight is not None:
        raise BadOption("the levels are --over's: give --over rate R,R or --over in-flight N,N")
    plan = options.plan(arguments)
    folder = output.folder(arguments, f"sweep-{plan.name}")

    from loadtest.search import page, scenarios, sweep  # noqa: PLC0415  only in a gevent process

    scenarios.check(plan.scenario)
    with output.runs(arguments, plan, folder) as runs:
        found = sweep.sweep(runs, over, levels)
    sheet = page.of_sweep(found)
    written = page.write(sheet, folder)
    if arguments.json:
        sys.stdout.write((folder / "sweep.json").read_text(encoding="utf-8"))
    else:
        page.show(sheet, written, output.console(), is_brief=arguments.quiet)
    return codes.OK if sheet.is_good else codes.INVALID


def levels_of(given: Sequence[str]) -> tuple[Literal["in-flight", "rate"], list[float]]:
    """Return what grows and its levels, ascending; none when they are left to the sweep.

    Raises:
        BadOption: the words are not of that form.
    """
    over, *rest = given
    texts = [text for word in rest for text in word.split(",") if text]
    if over == "in-flight":
        return "in-flight", _ascending([_whole(text) for text in texts])
    if over == "rate":
        return "rate", _ascending([_rate(text) for text in texts])
    raise BadOption(f"--over {over}: write in-flight or rate, then levels as in 1,2,4")


def _ascending(levels: list[float]) -> list[float]:
    if len(levels) > _MOST_LEVELS:
        raise BadOption(f"--over has {len(levels)} levels; {_MOST_LEVELS} is the most")
    return sorted(set(levels))


def _whole(text: str) -> float:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MOST_IN_FLIGHT:
        raise BadOption(f"--over in-flight {text}: write whole numbers from 1 to {_MOST_IN_FLIGHT}")
    return float(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        raise BadOption(f"--over rate {text}: write numbers, as in 50,100") from None
    if not 0 < rate <= HIGHEST:
        raise BadOption(f"--over rate {text}: must be above 0, at most {HIGHEST:g}")
    return rate
