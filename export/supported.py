"""`heed-export list`: the architectures that the tests export, and what came of each.

`supported.json` is written by the tests from real exports and compared with them on every run, so
that the table cannot promise what does not hold.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import resources

import msgspec


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One architecture and what exporting it shows."""

    name: str
    family: str
    """transformers' model type."""
    kind: str
    task: str
    green: bool
    fused: str = ""
    """Nodes by operator."""
    packed: bool = False
    """Rows may hold several sequences."""
    reason: str = ""
    """Why it is not green."""


NAME = "supported.json"


def rows() -> tuple[Row, ...]:
    """Return the table."""
    text = (resources.files("export") / NAME).read_bytes()
    return msgspec.json.decode(text, type=tuple[Row, ...])


def encode(table: Sequence[Row]) -> bytes:
    """Write a table as `rows` reads it."""
    return msgspec.json.format(msgspec.json.encode(table), indent=1) + b"\n"


def parser() -> argparse.ArgumentParser:
    """Return the arguments of `heed-export list`."""
    result = argparse.ArgumentParser(
        prog="heed-export list",
        description="List the architectures whose export the tests prove. Others that use "
        "transformers' attention interface are exported when they pass the same proofs.",
    )
    result.add_argument("--json", action="store_true", help="as JSON")
    return result


def run(options: argparse.Namespace) -> int:
    """Print the table on standard output."""
    table = rows()
    if options.json:
        sys.stdout.write(encode(table).decode())
        return 0
    width = max(len(row.name) for row in table)
    for row in table:
        packed = ", packed" if row.packed else ""
        found = f"{row.fused}{packed}" if row.green else row.reason
        mark = "green" if row.green else "red  "
        sys.stdout.write(f"{mark}  {row.name:{width}}  {row.kind:8}  {row.task:14}  {found}\n")
    green = sum(row.green for row in table)
    sys.stdout.write(f"{green} of {len(table)} green\n")
    return 0
