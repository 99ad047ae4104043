"""Command line of the server: parse, report, exit status. Decisions live elsewhere."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import MISSING, fields
from importlib.metadata import version as distribution_version

import uvloop

from server import app, bench, logs
from server.config import ENV_PREFIX, ServerConfig, resolve
from server.errors import ConfigInvalid, ServeError

FAILED = 1
USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `heed-serve`: 0 served and drained, 1 could not or lost a call, 2 wrong usage."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["bench"]:
            parsed = _bench_parser().parse_args(given[1:])
            config = resolve(_options(parsed), os.environ)
            return bench.main(parsed.bundle, parsed.texts, config, as_json=parsed.json)
        config = resolve(_options(_serve_parser().parse_args(given)), os.environ)
        logs.configure(config.log_level)
        return uvloop.run(app.run(config))
    except ConfigInvalid as error:
        return _report(error, USAGE)
    except ServeError as error:
        return _report(error, FAILED)


def _report(error: ServeError, status: int) -> int:
    for line in str(error).splitlines():
        print(f"heed-serve: {line}", file=sys.stderr)
    return status


def _options(parsed: argparse.Namespace) -> dict[str, str | bool]:
    names = {option.name for option in fields(ServerConfig)}
    return {name: value for name, value in vars(parsed).items() if name in names}


def _serve_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="heed-serve",
        description="Serve attention models over gRPC on ONNX Runtime. "
        "'heed-serve bench BUNDLE' measures a bundle in process instead.",
        epilog=f"Every option is also an environment variable, --max-batch-tokens as "
        f"{ENV_PREFIX}MAX_BATCH_TOKENS. Flags win.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=distribution_version("heed"))
    _add_options(parser)
    return parser


def _bench_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="heed-serve bench",
        description="Measure a bundle in process: the ceiling of this hardware, without gRPC.",
        allow_abbrev=False,
    )
    parser.add_argument("bundle", help="a version directory, such as models/minilm/1")
    parser.add_argument("--texts", help="file with one text a line; default: seeded lengths")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    _add_options(parser)
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    for option in fields(ServerConfig):
        flag = f"--{option.name.replace('_', '-')}"
        default = "" if option.default is MISSING else f" Default: {option.default}."
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
