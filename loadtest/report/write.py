"""The files of a run: `report.html`, `.json`, `.csv` and `.md`, and `calls.npz` behind them."""

import shutil
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from loadtest.record.calls import Calls
from loadtest.report import flat
from loadtest.report.markdown import markdown
from loadtest.report.model import Report
from loadtest.report.page import html

PAGE: Final = "report.html"
# In the order in which they appear: whoever finds the page finds everything.
_NAMES: Final = ("calls.npz", "report.csv", "report.md", "report.json", PAGE)


def write(report: Report, calls: Calls, folder: Path) -> Path:
    """Write the files into the folder and return the path of the page.

    They are written beside the folder first; a page in it is whole, and is gone while an earlier
    run's files are being replaced.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        calls.save(beside / "calls.npz", datetime.fromisoformat(report.started_at).timestamp())
        _write(beside, "report.csv", flat.table(report))
        _write(beside, "report.md", markdown(report))
        (beside / "report.json").write_bytes(encode(report))
        _write(beside, PAGE, html(report, calls))
        folder.mkdir(exist_ok=True)
        for name in reversed(_NAMES):
            (folder / name).unlink(missing_ok=True)
        for name in _NAMES:
            (beside / name).rename(folder / name)
    finally:
        shutil.rmtree(beside)
    return folder / PAGE


def encode(report: Report) -> bytes:
    """Return the report as `report.json` has it."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def _write(folder: Path, name: str, content: str) -> None:
    # What cannot be encoded, a lone surrogate in a server's message, must not cost the report.
    (folder / name).write_bytes(content.encode("utf-8", "backslashreplace"))
