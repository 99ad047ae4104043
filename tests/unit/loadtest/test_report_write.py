"""The files of a run are whole or absent."""

import json
from dataclasses import replace
from pathlib import Path

import finished_runs
import numpy as np
import pytest

from loadtest.record import calls as recording
from loadtest.record.calls import Calls
from loadtest.report.build import build
from loadtest.report.write import write

NAMES = ["calls.npz", "report.csv", "report.html", "report.json", "report.md"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_folder_has_all_files_and_nothing_else(tmp_path: Path) -> None:
    run = finished_runs.single()
    folder = tmp_path / "new" / "run"

    page = write(build(run), run.calls, folder)

    assert page == folder / "report.html"
    assert names(folder) == NAMES
    assert names(folder.parent) == ["run"]


def test_calls_are_saved_with_instant_0(tmp_path: Path) -> None:
    run = finished_runs.single()

    write(build(run), run.calls, tmp_path)

    loaded = recording.load(tmp_path / "calls.npz")
    assert np.array_equal(loaded.rows, run.calls.rows)
    with np.load(tmp_path / "calls.npz") as file:
        assert json.loads(str(file["schema"]))["began_s"] == finished_runs.BEGAN_S


def test_earlier_report_is_replaced_and_other_files_stay(tmp_path: Path) -> None:
    run = finished_runs.single()
    (tmp_path / "report.html").write_text("old")
    (tmp_path / "server.log").write_text("kept")

    page = write(build(run), run.calls, tmp_path)

    assert page.read_text().startswith("<!doctype html>")
    assert names(tmp_path) == sorted([*NAMES, "server.log"])


class Unwritable(Calls):
    def save(self, path: Path, began_s: float) -> None:
        raise OSError(28, f"no space left for {path.name} of {began_s}")


def test_report_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    run = finished_runs.single()
    calls = Unwritable(run.calls.rows, run.calls.probe_at_ns, run.calls.probe_lag_ns)
    folder = tmp_path / "run"

    with pytest.raises(OSError, match="no space left"):
        write(build(run), calls, folder)

    assert names(tmp_path) == []


def test_text_that_utf_8_cannot_hold_does_not_cost_the_report(tmp_path: Path) -> None:
    run = replace(finished_runs.single(), errors={"INTERNAL: \x00 \ufffe \u202e odd": 1})

    write(build(run), run.calls, tmp_path)

    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["errors"]
