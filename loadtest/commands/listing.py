"""`heed-load list`: name the packaged scenarios."""

import argparse
import sys
from typing import Any

from loadtest.commands import codes
from loadtest.scenario.files import packaged, read


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = commands.add_parser("list", help="name the packaged scenarios")
    parser.set_defaults(execute=execute, is_plain=True)


def execute(arguments: argparse.Namespace) -> int:  # noqa: ARG001  (every command's signature)
    """Print one line for each."""
    names = packaged()
    width = max(map(len, names))
    for name in names:
        sys.stdout.write(f"{name:{width}}  {read(name).description}\n")
    return codes.OK
