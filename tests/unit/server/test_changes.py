"""A change of the repository counts when two looks agree on it, and is followed once."""

from pathlib import Path

from server.repository.changes import Changes, look
from server.repository.index import Stamp, scan
from server.versions import parse

OLD: Stamp = (("model.onnx", 1, 1),)
NEW: Stamp = (("model.onnx", 2, 2),)


def test_nothing_has_changed_at_first() -> None:
    assert Changes({"a": ((1, OLD),)}).settled({"a": ((1, OLD),)}) == []


def test_new_version_counts_once_it_keeps_still() -> None:
    changes = Changes({"a": ((1, OLD),)})

    assert changes.settled({"a": ((2, OLD),)}) == []
    assert changes.settled({"a": ((2, NEW),)}) == []
    assert changes.settled({"a": ((2, NEW),)}) == ["a"]
    assert changes.follow("a")
    assert changes.settled({"a": ((2, NEW),)}) == []


def test_vanished_name_is_a_change() -> None:
    changes = Changes({"a": ((1, OLD),), "b": ((1, OLD),)})
    changes.settled({"b": ((1, OLD),)})

    assert changes.settled({"b": ((1, OLD),)}) == ["a"]
    assert not changes.follow("a")
    assert changes.settled({"b": ((1, OLD),)}) == []


def test_change_that_is_not_followed_comes_up_again() -> None:
    changes = Changes({})
    changes.settled({"a": ((1, OLD),)})

    assert changes.settled({"a": ((1, OLD),)}) == ["a"]
    assert changes.settled({"a": ((1, OLD),)}) == ["a"]


def test_look_shows_the_selected_versions(tmp_path: Path) -> None:
    for version in (1, 2, 3):
        (tmp_path / "a" / str(version)).mkdir(parents=True)
        (tmp_path / "a" / str(version) / "model.onnx").write_text("x" * version)

    shown = look(scan(tmp_path), parse("latest:2")[0])

    assert [(version, files[0][:2]) for version, files in shown["a"]] == [
        (2, ("model.onnx", 2)),
        (3, ("model.onnx", 3)),
    ]
