"""What a repository holds, and what a policy selects of it."""

from pathlib import Path

import pytest

from server.errors import ConfigInvalid
from server.repository.index import Found, scan, select, stamp
from server.versions import parse


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a/1", "a/2", "a/10", "b/3", "b/v4", "b/05", ".b.partial/1"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a" / "11").touch()
    return tmp_path


def found(root: Path) -> list[tuple[str, int]]:
    return [(item.name, item.version) for item in scan(root)]


def test_versions_are_found_in_the_order_of_numbers(root: Path) -> None:
    assert found(root) == [("a", 1), ("a", 2), ("a", 10), ("b", 3)]


def test_empty_repository_is_a_mistake_unless_models_may_come(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="heed-export"):
        scan(tmp_path)

    assert scan(tmp_path, may_be_empty=True) == []


def test_policy_selects(root: Path) -> None:
    selected, problems = select(scan(root), parse("a=1+2")[0])

    assert [(item.name, item.version) for item in selected] == [("a", 1), ("a", 2), ("b", 3)]
    assert problems == []


def test_everything_that_cannot_be_selected_is_named(root: Path) -> None:
    selected, problems = select(scan(root), parse("a=1+7,b=9,c=latest,d=1")[0])

    assert [(item.name, item.version) for item in selected] == [("a", 1)]
    assert len(problems) == 4
    for hint in ("no version 7", "no version 9", "model 'c' is not", "model 'd' has no version 1"):
        assert any(hint in problem for problem in problems), hint


def test_stamp_tells_a_replaced_file(tmp_path: Path) -> None:
    bundle = Found("a", 1, tmp_path / "a" / "1")
    bundle.path.mkdir(parents=True)
    (bundle.path / "model.onnx").write_text("one")
    before = stamp(bundle.path)
    assert stamp(bundle.path) == before

    (bundle.path / "model.onnx").write_text("other")
    assert stamp(bundle.path) != before


def test_stamp_of_what_vanished_is_empty(tmp_path: Path) -> None:
    assert stamp(tmp_path / "gone") == ()
