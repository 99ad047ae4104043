"""`heed-load compare`: is B better or worse than A?"""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from loadtest.commands import codes, options, output
from loadtest.commands.options import BadOption

if TYPE_CHECKING:
    from loadtest.compare.build import Ran, Subject
    from loadtest.compare.decision import Limits
    from loadtest.compare.duel import Ring
    from loadtest.fabric.outcome import Plan

_MEANING: Final = (
    "exit codes: 0 better or no difference, 1 could not be done, 2 usage, 3 INVALID or not enough"
    " data, 4 worse"
)
_CODES: Final = {"better": codes.OK, "no difference": codes.OK, "worse": codes.OVER}
# `compare.order` says why; this module imports nothing that counts.
_PAIRS: Final = 8
_MIN_EFFECT: Final = 2.0
_RESOLVE: Final = 5.0
_READY_S: Final = 60.0
_SCENARIO: Final = "concurrency"
_SIDES: Final[tuple[Literal["A", "B"], ...]] = ("A", "B")


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "compare",
        help="is B better or worse than A?",
        description="Runs A and B in turn (A B B A ...), never at the same time, each pair with"
        " the same texts and arrivals, and says whether the difference is more than chance."
        " A and B are addresses, or commands that start a server, or finished runs.",
        epilog=_MEANING,
    )
    parser.add_argument("targets", nargs="*", metavar="A B", help="gRPC addresses, HOST:PORT")
    for side in ("a", "b"):
        parser.add_argument(
            f"--{side}-command",
            metavar="COMMAND",
            help=f"start the server of {side.upper()} on the port written for {{port}}",
        )
    parser.add_argument(
        "--from-reports",
        nargs="+",
        action="append",
        type=Path,
        metavar="DIR",
        help="finished runs instead of servers; given twice, for A and for B",
    )
    parser.add_argument(
        "--scenario",
        default=_SCENARIO,
        help=f"a name from `heed-load list`, or a path to a .toml (default {_SCENARIO})",
    )
    parser.add_argument("--model", metavar="NAME", help="model to call")
    _add_limits(parser)
    options.add_load(parser)
    options.add_security(parser)
    options.add_fabric(parser)
    output.add(parser)
    parser.set_defaults(execute=execute)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    limits = parser.add_argument_group("how to judge")
    limits.add_argument(
        "--pairs", type=int, default=_PAIRS, metavar="N", help=f"runs of each (default {_PAIRS})"
    )
    limits.add_argument(
        "--min-effect",
        type=float,
        default=_MIN_EFFECT,
        metavar="PERCENT",
        help=f"smaller changes are no verdict (default {_MIN_EFFECT:g})",
    )
    limits.add_argument(
        "--resolve",
        type=float,
        default=_RESOLVE,
        metavar="PERCENT",
        help=f"'no difference' excludes larger changes (default {_RESOLVE:g})",
    )
    limits.add_argument(
        "--ready-timeout",
        type=float,
        default=_READY_S,
        metavar="S",
        help=f"how long a started server may take to answer (default {_READY_S:g})",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Get the runs, compare them, write and print what they say."""
    limits = _limits(arguments)
    if arguments.from_reports:
        ran, subject, folder = _recorded(arguments, limits)
    else:
        ran, subject, folder = _live(arguments, limits)

    from loadtest.compare import build, page  # noqa: PLC0415  only in a gevent process

    found = build.build(ran, subject)
    written = page.write(found, ran, folder)
    if arguments.json:
        sys.stdout.write((folder / "compare.json").read_text(encoding="utf-8"))
    else:
        page.show(found, written, output.console(), is_brief=arguments.quiet)
    return _CODES.get(found.verdict, codes.INVALID)


def _limits(arguments: argparse.Namespace) -> "Limits":
    from loadtest.compare.decision import Limits  # noqa: PLC0415

    if not 0 < arguments.min_effect < 100:  # noqa: PLR2004  percent
        raise BadOption(f"--min-effect {arguments.min_effect:g}: must be above 0 and below 100")
    if not arguments.min_effect <= arguments.resolve < 100:  # noqa: PLR2004  percent
        raise BadOption(
            f"--resolve {arguments.resolve:g}: must be at least --min-effect, below 100"
        )
    if not 0 < arguments.ready_timeout < float("inf"):
        raise BadOption(f"--ready-timeout {arguments.ready_timeout:g}: must be above 0")
    return Limits(min_effect=arguments.min_effect / 100, resolve=arguments.resolve / 100)


def _recorded(
    arguments: argparse.Namespace, limits: "Limits"
) -> tuple[list["Ran"], "Subject", Path]:
    if arguments.targets or arguments.a_command or arguments.b_command:
        raise BadOption("--from-reports compares what was recorded; leave out the servers")
    if len(arguments.from_reports) != len(_SIDES):
        raise BadOption(
            "give --from-reports twice, for A and for B: --from-reports DIR DIR ..."
            " --from-reports DIR DIR ..."
        )

    from loadtest.compare import build, recorded  # noqa: PLC0415

    a, b = arguments.from_reports
    ran, warnings = recorded.read(a, b)
    name = ran[0].report.name
    subject = build.Subject(
        name=name, a=_folders(a), b=_folders(b), limits=limits, warnings=tuple(warnings)
    )
    return ran, subject, output.folder(arguments, f"compare-{name}")


def _folders(paths: list[Path]) -> str:
    return ", ".join(map(str, paths))


def _live(arguments: argparse.Namespace, limits: "Limits") -> tuple[list["Ran"], "Subject", Path]:
    from loadtest.compare import build, duel, order  # noqa: PLC0415
    from loadtest.fabric import progress, run  # noqa: PLC0415

    plan, given = _plan(arguments)
    turns = order.turns(arguments.pairs, plan.scenario.seed)
    folder = output.folder(arguments, f"compare-{plan.name}")
    is_silent = arguments.quiet or arguments.json
    with (
        progress.shown(output.console(is_error=True), is_quiet=is_silent) as observe,
        run.Fabric(plan, observe) as fabric,
    ):
        ring = duel.Ring(fabric=fabric, folder=folder, say=output.say(arguments))
        with _served(arguments, plan, given, ring) as sides:
            ran = duel.fight(ring, sides, turns)
    return ran, build.Subject(name=plan.name, a=given["A"], b=given["B"], limits=limits), folder


def _plan(arguments: argparse.Namespace) -> tuple["Plan", dict[Literal["A", "B"], str]]:
    """Return the run of either side but for its address, and what stands for each side."""
    commands = {"A": arguments.a_command, "B": arguments.b_command}
    missing = [side for side in _SIDES if commands[side] is None]
    if len(arguments.targets) != len(missing):
        raise BadOption(
            f"{len(arguments.targets)} addresses for {len(missing)} sides without a command: give"
            " A and B as HOST:PORT, or --a-command and --b-command, or --from-reports"
        )
    if arguments.model is None:
        raise BadOption("give the model to call: --model NAME")
    if arguments.server_pid is not None or arguments.metrics is not None:
        raise BadOption("--server-pid and --metrics are one server's; compare watches both itself")
    given = dict(zip(missing, arguments.targets, strict=True))
    for side in _SIDES:
        given.setdefault(side, commands[side])
    arguments.target = arguments.targets[0] if arguments.targets else "127.0.0.1:1"
    return options.plan(arguments), given


@contextmanager
def _served(
    arguments: argparse.Namespace,
    plan: "Plan",
    given: dict[Literal["A", "B"], str],
    ring: "Ring",
) -> Iterator[dict[Literal["A", "B"], "Plan"]]:
    """Yield the plan of each side, the servers that are to be started running and ready."""
    from loadtest.compare import duel, servers  # noqa: PLC0415

    commands = {"A": arguments.a_command, "B": arguments.b_command}
    sides: dict[Literal["A", "B"], Plan] = {}
    with servers.ended_in_order(), ExitStack() as started:
        waiting = []
        for side in _SIDES:
            sides[side] = replace(plan, target=given[side])
            if commands[side] is not None:
                server = servers.Server(side, commands[side], ring.folder)
                started.enter_context(server)
                sides[side] = replace(sides[side], target=server.target, server_pid=server.pid)
                waiting.append((side, server))
        until_s = time.monotonic() + arguments.ready_timeout
        for side, server in waiting:
            ring.say(f"waiting for the server of {side} at {server.target}")
            servers.await_answers(server, partial(duel.knock, ring, sides[side]), until_s)
        yield sides
