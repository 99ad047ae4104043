"""The command line: arguments in, exit code out.

Parses and prints; everything that takes part in a run is imported only when there is one, after
the process has been patched. Exit codes: 0 VALID, 1 the run could not be done, 2 usage,
3 INVALID.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from loadtest import scenario

VALID, FAILED, USAGE, INVALID = 0, 1, 2, 3
_WEB_PORT = 8089


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "list":
            return _list()
        return _run(arguments)
    except scenario.BadScenario as error:
        sys.stderr.write(f"heed-load: {error}\n")
        return USAGE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="heed-load", description="Measure latency and throughput of a heed server."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name the packaged scenarios")
    run = commands.add_parser(
        "run",
        help="run one scenario and write a report",
        epilog="exit codes: 0 VALID, 1 the run could not be done, 2 usage, 3 INVALID",
    )
    run.add_argument("scenario", help="a name from `heed-load list`, or a path to a .toml")
    run.add_argument("--target", required=True, metavar="HOST:PORT", help="gRPC address")
    run.add_argument("--model", required=True, metavar="NAME", help="model to call")
    load = run.add_mutually_exclusive_group()
    load.add_argument("--rate", type=float, metavar="R", help="calls per second, open loop")
    load.add_argument("--users", type=int, metavar="N", help="calls in flight, closed loop")
    run.add_argument("--duration", type=float, metavar="S", help="measured seconds")
    run.add_argument("--warmup", type=float, metavar="S", help="seconds before them, not counted")
    run.add_argument("--seed", type=int, help="seed of texts and arrivals")
    run.add_argument("--texts-per-call", type=int, metavar="N", help="texts in one call")
    run.add_argument("--out", type=Path, metavar="DIR", help="default: reports/SCENARIO-TIMESTAMP")
    run.add_argument(
        "--web",
        type=int,
        nargs="?",
        const=_WEB_PORT,
        metavar="PORT",
        help=f"Locust's own page on 127.0.0.1 while running (default port {_WEB_PORT})",
    )
    output = run.add_mutually_exclusive_group()
    output.add_argument("--quiet", action="store_true", help="print the verdict, not the table")
    output.add_argument("--json", action="store_true", help="print report.json instead of a table")
    return parser


def _list() -> int:
    for name in scenario.packaged():
        loaded = scenario.load(name, scenario.Overrides.none())
        sys.stdout.write(f"{name:12} {loaded.description}\n")
    return VALID


def _run(arguments: argparse.Namespace) -> int:
    name: str = arguments.scenario
    loaded = scenario.load(
        name,
        scenario.Overrides(
            rate=arguments.rate,
            users=arguments.users,
            duration_s=arguments.duration,
            warmup_s=arguments.warmup,
            seed=arguments.seed,
            texts_per_call=arguments.texts_per_call,
        ),
    )
    stem = Path(name).stem if name.endswith(".toml") else name
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    folder: Path = arguments.out or Path("reports") / f"{stem}-{stamp}"

    try:
        from loadtest import greenlets  # noqa: PLC0415

        # The order matters: gRPC and Locust must find a patched process.
        greenlets.install()
        from rich.console import Console  # noqa: PLC0415

        from loadtest import run, terminal  # noqa: PLC0415
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"heed-load: {error.name} is not installed; pip install 'heed[loadtest]'\n"
        )
        return FAILED

    order = run.Order(stem, loaded, arguments.target, arguments.model, folder, arguments.web)
    span_s = loaded.warmup_s + loaded.duration_s
    sys.stderr.write(f"running {stem} against {order.target} for {span_s:g} s\n")
    if order.web_port is not None:
        sys.stderr.write(f"Locust's page: http://127.0.0.1:{order.web_port}\n")
    try:
        result, page = run.run(order)
    except run.RunFailed as error:
        sys.stderr.write(f"heed-load: {error}\n")
        return FAILED
    if arguments.json:
        sys.stdout.write((folder / "report.json").read_text(encoding="utf-8") + "\n")
    else:
        terminal.show(result, page, Console(), is_brief=arguments.quiet)
    return VALID if result.verdict.valid else INVALID
