"""What every command that sends load takes on its command line, and the plan that it makes.

Reads the files that are named; starts nothing.
"""

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, get_args

from loadtest.fabric.outcome import Plan
from loadtest.scenario.files import Overrides, load
from loadtest.scenario.requests import Rpc
from loadtest.sender.order import Security

WEB_PORT: Final = 8089
MAX_WORKERS: Final = 256
_MAX_PORT: Final = 65535
# What gRPC lets a name and a value of metadata be. Names that end in -bin carry bytes.
_NAME: Final = re.compile(r"[0-9a-z_.-]+")
_VALUE: Final = re.compile(r"[ -~]*")


class BadOption(ValueError):
    """An option cannot be what it is; the text says what to change."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add every option that `plan` reads."""
    parser.add_argument("scenario", help="a name from `heed-load list`, or a path to a .toml")
    add_target(parser)
    add_load(parser)
    add_security(parser)
    add_fabric(parser)


def add_target(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add what is called."""
    parser.add_argument("--target", required=required, metavar="HOST:PORT", help="gRPC address")
    parser.add_argument("--model", required=required, metavar="NAME", help="model to call")


def add_load(parser: argparse.ArgumentParser) -> None:
    """Add what may differ from the scenario's file."""
    load = parser.add_argument_group("instead of what the scenario says")
    number, whole = (float, int)
    given: Sequence[tuple[Sequence[str], Callable[[str], object], str, str]] = (
        (["--rate"], number, "R", "calls per second (open loop)"),
        (["--in-flight", "--users"], whole, "N", "calls in flight (closed loop, offline)"),
        (["--calls"], whole, "N", "calls of an offline run"),
        (["--duration"], number, "S", "measured seconds"),
        (["--warmup"], number, "S", "seconds before them, not counted"),
        (["--seed"], whole, "N", "seed of arrivals and texts"),
        (["--texts-per-call"], whole, "N", "texts, candidates or rows in one call"),
        (["--percentile"], number, "P", "the highest that must have enough samples"),
        (["--bound-ms"], number, "MS", "what that percentile must be under"),
        (["--deadline"], number, "S", "how long a call may take"),
        (["--connections"], whole, "N", "TCP connections of each sending process"),
        (["--trace"], str, "FILE", "recording to replay"),
    )
    for names, kind, metavar, text in given:
        load.add_argument(*names, type=kind, metavar=metavar, help=text)
    load.add_argument("--rpc", choices=get_args(Rpc), metavar="RPC", help="what is called")


def add_security(parser: argparse.ArgumentParser) -> None:
    """Add how the server is reached."""
    way = parser.add_argument_group("how to reach the server")
    way.add_argument("--tls", action="store_true", help="with TLS; implied by the next four")
    way.add_argument("--ca", type=Path, metavar="FILE", help="certificates to trust (PEM)")
    way.add_argument("--cert", type=Path, metavar="FILE", help="client certificate (PEM)")
    way.add_argument("--key", type=Path, metavar="FILE", help="its key (PEM)")
    way.add_argument("--server-name", metavar="NAME", help="name in the server's certificate")
    way.add_argument(
        "--api-key-file", type=Path, metavar="FILE", help="key sent as 'authorization: Bearer KEY'"
    )
    way.add_argument(
        "--metadata",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="sent with every call; may be repeated",
    )


def add_fabric(parser: argparse.ArgumentParser) -> None:
    """Add who sends, and what is watched meanwhile."""
    fabric = parser.add_argument_group("who sends")
    number = fabric.add_mutually_exclusive_group()
    number.add_argument(
        "--workers", type=int, default=1, metavar="N", help="sending processes (default 1)"
    )
    number.add_argument(
        "--expect-workers",
        type=int,
        default=0,
        metavar="N",
        help="wait for N `heed-load worker` of other machines; they are sent keys and"
        " certificates unencrypted, so let only machines that you trust reach --bind",
    )
    fabric.add_argument(
        "--bind",
        default=Plan.bind,
        metavar="HOST:PORT",
        help=f"where they reach this one (default {Plan.bind})",
    )
    fabric.add_argument(
        "--web",
        type=int,
        nargs="?",
        const=WEB_PORT,
        metavar="PORT",
        help=f"Locust's own page on 127.0.0.1 while running (default port {WEB_PORT})",
    )
    fabric.add_argument(
        "--no-realtime",
        action="store_true",
        help="send at normal priority; without it an open loop or a replay takes real-time"
        " priority where the system allows it",
    )
    watched = parser.add_argument_group("what is watched")
    watched.add_argument(
        "--server-pid",
        type=int,
        metavar="PID",
        help="the server's process (default: what listens at a loopback target)",
    )
    watched.add_argument("--metrics", metavar="URL", help="Prometheus page of a server elsewhere")


def plan(arguments: argparse.Namespace) -> Plan:
    """Return the run that the arguments ask for.

    Raises:
        BadScenario: the scenario does not exist, or does not take what was given.
        BadOption: another option cannot be what it is.
    """
    _check_numbers(arguments)
    return Plan(
        name=name(arguments.scenario),
        scenario=load(arguments.scenario, overrides(arguments)),
        target=arguments.target,
        model=arguments.model,
        security=security(arguments),
        workers=arguments.workers,
        expect_workers=arguments.expect_workers,
        bind=arguments.bind,
        server_pid=arguments.server_pid,
        metrics_url=arguments.metrics,
        web_port=arguments.web,
        wants_realtime=not arguments.no_realtime,
    )


def name(scenario: str) -> str:
    """Return what a scenario is called for people and in file names."""
    return Path(scenario).stem if scenario.endswith(".toml") else scenario


def overrides(arguments: argparse.Namespace) -> Overrides:
    """Return what was given instead of the scenario's own values."""
    return Overrides(
        rate=arguments.rate,
        in_flight=arguments.in_flight,
        calls=arguments.calls,
        duration_s=arguments.duration,
        warmup_s=arguments.warmup,
        seed=arguments.seed,
        deadline_s=arguments.deadline,
        percentile=arguments.percentile,
        bound_ms=arguments.bound_ms,
        connections=arguments.connections,
        trace=arguments.trace,
        rpc=arguments.rpc,
        texts_per_call=arguments.texts_per_call,
    )


def security(arguments: argparse.Namespace) -> Security:
    """Return how to reach the server, files read.

    Raises:
        BadOption: a file cannot be read, or does not come with its other half.
    """
    if (arguments.cert is None) != (arguments.key is None):
        raise BadOption("--cert and --key belong together; pass both")
    metadata = [_pair(text) for text in arguments.metadata]
    if arguments.api_key_file is not None:
        metadata.append(("authorization", f"Bearer {_api_key(arguments.api_key_file)}"))
    implied = (arguments.ca, arguments.cert, arguments.server_name)
    return Security(
        is_tls=arguments.tls or any(value is not None for value in implied),
        ca=_content("--ca", arguments.ca),
        certificate=_content("--cert", arguments.cert),
        key=_content("--key", arguments.key),
        server_name=arguments.server_name,
        metadata=tuple(metadata),
    )


def address(text: str, option: str) -> tuple[str, int]:
    """Return host and port.

    Raises:
        BadOption: the text is not of that form.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) <= _MAX_PORT:
        raise BadOption(f"{option} {text} is not of the form HOST:PORT")
    return host, int(port)


def _check_numbers(arguments: argparse.Namespace) -> None:
    for option, value, least in (
        ("--workers", arguments.workers, 1),
        ("--expect-workers", arguments.expect_workers, 0),
    ):
        if not least <= value <= MAX_WORKERS:
            raise BadOption(f"{option} {value}: must be from {least} to {MAX_WORKERS}")
    if arguments.web is not None and not 0 < arguments.web <= _MAX_PORT:
        raise BadOption(f"--web {arguments.web}: must be a port from 1 to {_MAX_PORT}")
    if not arguments.target.strip():
        raise BadOption("--target is empty; pass HOST:PORT")
    if arguments.server_pid is not None and arguments.metrics is not None:
        raise BadOption("--server-pid and --metrics are two ways to the same; pass one")
    address(arguments.bind, "--bind")


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not _NAME.fullmatch(key) or not _VALUE.fullmatch(value):
        raise BadOption(
            f"--metadata {key}: write NAME=VALUE, the name of a-z 0-9 _ . - only, the value ASCII"
        )
    if key.endswith("-bin") or key.startswith("grpc-"):
        raise BadOption(f"--metadata {key}: names that begin grpc- or end -bin cannot be sent")
    return key, value


def _api_key(path: Path) -> str:
    lines = (_content("--api-key-file", path) or b"").split()
    key = lines[0].decode(errors="replace") if len(lines) == 1 else ""
    if not key or not _VALUE.fullmatch(key):
        raise BadOption(f"--api-key-file {path}: write the key alone into it, in ASCII")
    return key


def _content(option: str, path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadOption(f"{option} {path}: {error.strerror}") from error
