"""`heed-load worker`: send for a master on another machine."""

import argparse
import sys
from typing import Any

from loadtest.commands import codes
from loadtest.commands.options import address


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "worker",
        help="send for a `heed-load run --expect-workers` elsewhere, run after run",
        description="Waits for the master, sends its share of every run, ends with it."
        " It does whatever its master says: point it only at one that you trust.",
    )
    parser.add_argument("--master", required=True, metavar="HOST:PORT", help="its --bind")
    parser.add_argument("--leave-with-parent", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Work until the master says quit."""
    host, port = address(arguments.master, "--master")
    from loadtest.fabric import worker  # noqa: PLC0415  only in a gevent process

    if not arguments.leave_with_parent:
        sys.stderr.write(f"working for {arguments.master}; Ctrl-C leaves\n")
    worker.serve(host, port, leaves_with_parent=arguments.leave_with_parent)
    return codes.OK
