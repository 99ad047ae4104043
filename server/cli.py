"""Command line of the server: parse, report, exit status. Decisions live elsewhere.

Each command imports what it needs when it runs: a probe or a look at the options need not load
gRPC, and what starts a server need not load what measures one.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from importlib.metadata import version as distribution_version
from pathlib import Path

from server import options
from server.config import ENV_PREFIX, ServerConfig
from server.errors import ConfigInvalid, ServeError

FAILED = 1
USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `heed-serve`: 0 served and drained, 1 could not or lost a call, 2 wrong usage."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = given.pop(0) if given[:1] and given[0] in COMMANDS else "serve"
    command = COMMANDS[name]
    parser = _parser(name, command)
    try:
        return command.run(parser.parse_args(given))
    except ConfigInvalid as error:
        return _report(error, USAGE)
    except ServeError as error:
        return _report(error, FAILED)


def _report(error: ServeError, status: int) -> int:
    for line in str(error).splitlines():
        print(f"heed-serve: {line}", file=sys.stderr)
    return status


def _serve(parsed: argparse.Namespace) -> int:
    import uvloop

    from server import app, logs

    config = _config(parsed)
    logs.configure(config.log_level)
    if config.workers > 1:
        from server import workers

        return workers.run(config)
    return uvloop.run(app.run(config))


def _bench(parsed: argparse.Namespace) -> int:
    from server import bench

    return bench.main(parsed.bundle, parsed.texts, _config(parsed), as_json=parsed.json)


def _check(parsed: argparse.Namespace) -> int:
    if parsed.one is not None:
        from server import probe

        probe.open_one(parsed.one, _config(parsed))
        return 0
    from server import check

    found = options.read(_flags(parsed), os.environ)
    return check.main(found.config, found.problems, as_json=parsed.json)


def _show(parsed: argparse.Namespace) -> int:
    found = options.read(_flags(parsed), os.environ)
    if found.problems:
        raise ConfigInvalid("\n".join(found.problems))
    print(options.as_toml(found), end="")
    return 0


def _tune(parsed: argparse.Namespace) -> int:
    from server import tune

    return tune.main(parsed.bundle, _config(parsed), seconds=parsed.seconds, as_json=parsed.json)


def _simulate(parsed: argparse.Namespace) -> int:
    from server import simulate

    return simulate.main(parsed.workload, parsed.bundle, _config(parsed), as_json=parsed.json)


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    _bundle_argument(parser)
    parser.add_argument("--texts", help="file with one text a line; default: seeded lengths")
    _json_argument(parser)


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--one", type=Path, metavar="BUNDLE", help="open this bundle alone, in this process"
    )
    _json_argument(parser)


def _tune_arguments(parser: argparse.ArgumentParser) -> None:
    _bundle_argument(parser)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to measure")
    _json_argument(parser)


def _simulate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workload", help="file that --record-arrivals wrote")
    parser.add_argument("--bundle", help="a version directory whose limits and cost apply")
    _json_argument(parser)


def _bundle_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", help="a version directory, such as models/minilm/1")


def _json_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _no_arguments(_: argparse.ArgumentParser) -> None:
    """Add nothing to the options."""


@dataclass(frozen=True, slots=True)
class Command:
    """What one word of the command line does."""

    help: str
    run: Callable[[argparse.Namespace], int]
    add_arguments: Callable[[argparse.ArgumentParser], None] = _no_arguments
    operand: str = ""
    """What stands before the options."""


COMMANDS = {
    "serve": Command("Serve attention models over gRPC on ONNX Runtime.", _serve),
    "bench": Command(
        "Measure a bundle in process: the ceiling of this hardware, without gRPC.",
        _bench,
        _bench_arguments,
        "BUNDLE",
    ),
    "check": Command(
        "Open, verify and run every bundle of the repository, without serving.",
        _check,
        _check_arguments,
    ),
    "config": Command("Print the options in force and where each comes from.", _show),
    "tune": Command(
        "Find the fastest settings for a bundle on this hardware.",
        _tune,
        _tune_arguments,
        "BUNDLE",
    ),
    "simulate": Command(
        "Replay recorded arrivals against a model of the queue, and predict latencies.",
        _simulate,
        _simulate_arguments,
        "WORKLOAD",
    ),
}


def _parser(name: str, command: Command) -> argparse.ArgumentParser:
    others = "\n".join(f"  {other:<9} {COMMANDS[other].help}" for other in COMMANDS)
    words = ["heed-serve", "[command]" if name == "serve" else name, command.operand, "[options]"]
    parser = argparse.ArgumentParser(
        prog="heed-serve" if name == "serve" else f"heed-serve {name}",
        usage=" ".join(filter(None, words)),
        description=f"{command.help}\n\ncommands, of which serve is the default:\n{others}",
        epilog="Every option is also an environment variable, --max-batch-tokens as\n"
        f"{ENV_PREFIX}MAX_BATCH_TOKENS, and a line of the file that --config names, as\n"
        "max_batch_tokens = 512. Flags win over the environment, the environment over the file.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=distribution_version("heed"))
    command.add_arguments(parser)
    _add_options(parser)
    return parser


def _config(parsed: argparse.Namespace) -> ServerConfig:
    return options.resolve(_flags(parsed), os.environ)


def _flags(parsed: argparse.Namespace) -> dict[str, str | bool]:
    return {name: value for name, value in vars(parsed).items() if name in options.OPTIONS}


def _add_options(parser: argparse.ArgumentParser) -> None:
    for option in fields(ServerConfig):
        flag = f"--{option.name.replace('_', '-')}"
        default = "" if option.default in {MISSING, ""} else f" Default: {option.default}."
        help_text = option.metadata["help"] + default
        if isinstance(option.default, bool):
            parser.add_argument(
                flag,
                action=argparse.BooleanOptionalAction,
                default=argparse.SUPPRESS,
                help=help_text,
            )
        else:
            parser.add_argument(
                flag,
                default=argparse.SUPPRESS,
                metavar=_metavar(option.metadata["choices"]),
                help=help_text,
            )


def _metavar(choices: Sequence[str]) -> str:
    return "|".join(choices) if choices else "VALUE"
