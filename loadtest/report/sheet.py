"""Pages and files of what is made of several runs: searches, sweeps, comparisons.

Their templates lie in their own packages and extend `base.html.j2`.
"""

import csv
import html
import io
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import jinja2
import msgspec

from loadtest.report.page import environment
from loadtest.report.tables import Table

# What begins something in Markdown, inside a line or at its start.
_MARKS: Final = re.compile(r"([\\`*_\[\]|~#])")


def render(package: str, template: str, values: Mapping[str, object]) -> str:
    """Return a page from a template of another package."""
    own = environment()
    assert own.loader is not None
    loader = jinja2.ChoiceLoader([jinja2.PackageLoader(package, package_path=""), own.loader])
    return own.overlay(loader=loader).get_template(template).render(values)


def as_json(value: msgspec.Struct) -> str:
    """Return a value as the files have it."""
    return msgspec.json.format(msgspec.json.encode(value), indent=1).decode() + "\n"


def as_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows of the same fields, with a head; None is empty, truth is true or false."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(rows[0] if rows else ())
    for row in rows:
        cells = (str(cell).lower() if isinstance(cell, bool) else cell for cell in row.values())
        writer.writerow(cells)
    return buffer.getvalue()


def as_markdown(data: Table) -> str:
    """Return a table under its title."""
    width = len(data.rows[0])
    column = "---" if data.is_prose else "---:"
    rows = [data.head or ("",) * width, ("---", *(column for _ in range(width - 1)))]
    rows += [tuple(map(plain, row)) for row in data.rows]
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    note = f"\n\n{plain(data.note)}" if data.note else ""
    return f"### {data.title}\n\n" + "\n".join(lines) + note


def plain(content: str) -> str:
    """Return text that Markdown and the HTML in it show as it is, on one line."""
    return _MARKS.sub(r"\\\1", html.escape(" ".join(content.split()), quote=False))


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write files into the folder, each whole or not at all, in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    try:
        for name, content in files.items():
            (beside / name).write_bytes(content.encode("utf-8", "backslashreplace"))
        for name in files:
            (beside / name).replace(folder / name)
    finally:
        shutil.rmtree(beside)
