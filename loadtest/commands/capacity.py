"""`heed-load capacity`: the highest rate that holds a latency bound."""

import argparse
import sys
from typing import Any, Final

from loadtest.commands import codes, options, output
from loadtest.commands.options import BadOption
from loadtest.search.peak import HIGHEST

_MEANING: Final = (
    "exit codes: 0 found and confirmed, 1 could not be done, 2 usage, 3 not found or not confirmed"
)
_MAX_DURATION_S: Final = 600.0
_WIDTH: Final = 5.0
_CONFIRMATIONS: Final = 3
_MOST_CONFIRMATIONS: Final = 100


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "capacity",
        help="find the highest rate whose percentile stays under a bound",
        description="Doubles the rate until the bound breaks, bisects, then confirms what was"
        " found in new runs. Latency runs from the scheduled instant, arrivals are Poisson unless"
        " the scenario says otherwise.",
        epilog=_MEANING,
    )
    options.add(parser)
    search = parser.add_argument_group("how to search")
    search.add_argument(
        "--from",
        type=float,
        dest="start",
        metavar="R",
        help="first rate (default: half of what a short closed loop gets)",
    )
    search.add_argument("--to", type=float, default=HIGHEST, metavar="R", help="highest rate")
    search.add_argument(
        "--width",
        type=float,
        default=_WIDTH,
        metavar="PERCENT",
        help=f"stop when the rates above and below are so near (default {_WIDTH:g})",
    )
    search.add_argument(
        "--confirm",
        type=int,
        default=_CONFIRMATIONS,
        metavar="N",
        help=f"runs with new seeds that must hold (default {_CONFIRMATIONS})",
    )
    search.add_argument(
        "--max-duration",
        type=float,
        default=_MAX_DURATION_S,
        metavar="S",
        help=f"the longest that one run may measure (default {_MAX_DURATION_S:g})",
    )
    output.add(parser)
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Search, write the result, print it."""
    if arguments.rate is not None:
        raise BadOption("--rate is what is looked for; give --from R to say where to begin")
    plan = options.plan(arguments)
    # Bounds of the percentile and the bound are the scenario's to check.
    bound_ms = plan.scenario.bound_ms
    if bound_ms is None:
        raise BadOption("capacity needs a bound: give --bound-ms MS, or bound_ms in the scenario")
    _check(arguments)
    folder = output.folder(arguments, f"capacity-{plan.name}")

    from loadtest.search import capacity, page, scenarios  # noqa: PLC0415  only in a gevent process

    scenarios.check(plan.scenario)
    wanted = capacity.Wanted(
        bound_ms=bound_ms,
        start=arguments.start,
        highest=arguments.to,
        width=arguments.width / 100,
        confirmations=arguments.confirm,
        max_duration_s=arguments.max_duration,
    )
    with output.runs(arguments, plan, folder) as runs:
        found = capacity.find(runs, wanted)
    sheet = page.of_capacity(found)
    written = page.write(sheet, folder)
    if arguments.json:
        sys.stdout.write((folder / "capacity.json").read_text(encoding="utf-8"))
    else:
        page.show(sheet, written, output.console(), is_brief=arguments.quiet)
    return codes.INVALID if found.rate is None else codes.OK


def _check(arguments: argparse.Namespace) -> None:
    if arguments.start is not None and not 0 < arguments.start <= HIGHEST:
        raise BadOption(f"--from {arguments.start:g}: must be above 0, at most {HIGHEST:g}")
    if not 0 < arguments.to <= HIGHEST:
        raise BadOption(f"--to {arguments.to:g}: must be above 0, at most {HIGHEST:g}")
    if arguments.start is not None and arguments.start > arguments.to:
        raise BadOption(f"--from {arguments.start:g} is above --to {arguments.to:g}")
    if not 1 <= arguments.width <= 100:  # noqa: PLR2004  percent
        raise BadOption(f"--width {arguments.width:g}: must be from 1 to 100 percent")
    if not 1 <= arguments.confirm <= _MOST_CONFIRMATIONS:
        raise BadOption(f"--confirm {arguments.confirm}: must be from 1 to {_MOST_CONFIRMATIONS}")
    if not 0 < arguments.max_duration < float("inf"):
        raise BadOption(f"--max-duration {arguments.max_duration:g}: must be above 0")
