"""`heed-export verify`: does a bundle still keep what it promises, on this machine?

Opens it as a server does and runs the proofs that need nothing but the bundle; with a checkpoint
also parity with PyTorch. The table goes to standard error, JSON to standard output.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from export.inspect import checks
from export.inspect.checks import Check, Opened
from server.errors import BundleCorrupt
from server.repository.bundle import open_bundle

_COLOURS = {"passed": "green", "failed": "red", "noted": "yellow"}


def parser() -> argparse.ArgumentParser:
    """Return the arguments of `heed-export verify`."""
    result = argparse.ArgumentParser(
        prog="heed-export verify",
        description="Check a bundle as a server would open it: files, fusion, and that no answer "
        "depends on its place in a batch or on what else is in it.",
    )
    result.add_argument(
        "bundle", type=Path, metavar="BUNDLE", help="version directory, <models>/<name>/<version>"
    )
    result.add_argument(
        "--against", metavar="MODEL", help="compare with PyTorch too: hub id, directory or minilm"
    )
    result.add_argument(
        "--tower", choices=("text", "vision", "audio"), help="of a MODEL that has several"
    )
    result.add_argument("--json", action="store_true", help="print the checks as JSON too")
    return result


def run(options: argparse.Namespace) -> int:
    """Check one bundle and return the exit code: 0 if nothing failed, else 1."""
    found: list[Check] = []
    console = Console(stderr=True)
    with console.status("verify"):
        found.extend(_verify(options.bundle, options.against, options.tower))
    console.print(_table(options.bundle, found))
    passed = all(check.result != "failed" for check in found)
    if options.json:
        data = {"bundle": str(options.bundle), "passed": passed, "checks": found}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(data), indent=2).decode() + "\n")
    return 0 if passed else 1


def _verify(path: Path, against: str | None, tower: str | None) -> Iterator[Check]:
    try:
        bundle = open_bundle(path)
    except BundleCorrupt as error:
        yield Check("files", "failed", str(error))
        return
    yield Check("files", "passed", f"{len(bundle.manifest.files)} files are as exported (SHA-256)")
    try:
        with checks.opened(bundle) as opened:
            yield Check("session", "passed", "opens as it is served")
            yield from checks.checks(opened)
            if against is not None:
                yield _parity(opened, against, tower)
    except BundleCorrupt as error:
        yield Check("session", "failed", str(error))


def _parity(opened: Opened, model: str, tower: str | None) -> Check:
    # Brings torch, which nothing else here needs.
    from export.inspect import reproduce  # noqa: PLC0415

    return checks.attempt("parity with PyTorch", lambda: reproduce.reproduce(opened, model, tower))


def _table(path: Path, found: list[Check]) -> Table:
    table = Table(title=str(path))
    for column in ("Check", "Result", "Found"):
        table.add_column(column)
    for check in found:
        table.add_row(
            Text(check.name), Text(check.result, style=_COLOURS[check.result]), Text(check.found)
        )
    return table
