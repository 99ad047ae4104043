"""Every architecture of `heed-export list`, exported with every proof: the table is what happens.

`make supported` rewrites the table. A red row keeps its reason, and turns the test red when the
architecture gets better or worse.
"""

from pathlib import Path

import pytest
from zoo import ARCHITECTURES, Architecture, prove
from zoo_tensors import TensorArchitecture

from export import supported
from export.cli import main

GREEN_AT_LEAST = 34
IN_SHORT = {"Llama", "ViT"}
"""Other tests export more of them; all together take minutes."""


@pytest.mark.parametrize(
    "architecture",
    [
        pytest.param(one, id=one.name, marks=() if one.name in IN_SHORT else pytest.mark.thorough)
        for one in ARCHITECTURES
    ],
)
def test_the_table_says_what_exporting_shows(
    architecture: Architecture | TensorArchitecture, tmp_path: Path
) -> None:
    rows = {row.name: row for row in supported.rows()}
    assert prove(architecture, tmp_path) == rows[architecture.name]


def test_the_table_lists_every_architecture_and_enough_are_green() -> None:
    rows = supported.rows()
    assert [row.name for row in rows] == [one.name for one in ARCHITECTURES]
    assert {row.name for row in rows} > IN_SHORT
    assert sum(row.green for row in rows) >= GREEN_AT_LEAST


def test_list_prints_a_line_for_each_architecture(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    *lines, total = capsys.readouterr().out.splitlines()
    assert len(lines) == len(ARCHITECTURES)
    assert total.endswith(f"of {len(ARCHITECTURES)} green")
