"""docs/calls.md describes the file that a run leaves behind, field by field."""

import re
from pathlib import Path

import numpy as np
import pytest

from loadtest.record.calls import Calls
from loadtest.record.row import MISSING, ROW, SCHEMA_VERSION, WARMUP, WRONG_ANSWER

PAGE = (Path(__file__).parents[2] / "docs" / "calls.md").read_text()
TABLE = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+) \|$", PAGE, re.MULTILINE)
BESIDE = {"probe_at_ns", "probe_lag_ns", "schema"}


def described() -> list[tuple[str, str]]:
    return [(name, kind) for name, kind, _ in TABLE if name not in BESIDE]


def saved(folder: Path) -> Path:
    rows = np.zeros(20, ROW)
    rows["index"] = np.arange(20)
    rows["phase"][:5] = WARMUP
    rows["done_ns"] = np.arange(20) * 1_000_000
    path = folder / "calls.npz"
    Calls(rows, np.zeros(3, np.int64), np.zeros(3, np.int64)).save(path, began_s=1.7e9)
    return path


def test_every_field_is_described_in_its_place() -> None:
    assert described() == [(name, ROW[name].name) for name in ROW.names or ()]


def test_special_values_are_those_of_the_record() -> None:
    words = {name: text for name, _, text in TABLE}

    assert f"{WARMUP} is warm-up" in words["phase"]
    assert f"{WRONG_ANSWER} is ours" in words["code"]
    assert f"are {MISSING} where" in words["tokenize_ns"]
    assert f"now {SCHEMA_VERSION})" in words["schema"]


def test_the_file_holds_what_is_described_and_no_more(tmp_path: Path) -> None:
    with np.load(saved(tmp_path), allow_pickle=False) as file:
        assert set(file.files) == {name for name, *_ in TABLE}
        for name, kind in described():
            assert file[name].dtype.name == kind


def test_the_example_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.+?)```", PAGE, re.DOTALL)
    saved(tmp_path)
    monkeypatch.chdir(tmp_path)

    exec(example, {})  # noqa: S102  (it is ours)

    # Calls 5 to 19 are measured; the k-th took k ms.
    assert capsys.readouterr().out == "[12.   17.6  18.86]\n"
