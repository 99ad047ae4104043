"""Files that are renewed: each change is reported once, and rarely looked for."""

from pathlib import Path

import pytest

from server.rpc.watched import Watched

HOUR_S = 3600.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "file"
    written.write_text("first")
    return written


def test_change_is_reported_once(path: Path) -> None:
    watched = Watched([path], period_s=0)

    assert not watched.changed()
    path.write_text("another length")
    assert [watched.changed(), watched.changed()] == [True, False]


def test_file_that_goes_and_comes_back_has_changed_twice(path: Path) -> None:
    watched = Watched([path], period_s=0)

    path.unlink()
    assert watched.changed()
    path.write_text("back")
    assert watched.changed()


def test_link_to_another_file_is_a_change(path: Path, tmp_path: Path) -> None:
    link, target = tmp_path / "link", tmp_path / "target"
    target.write_text("first")
    link.symlink_to(path)
    watched = Watched([link], period_s=0)

    link.unlink()
    link.symlink_to(target)
    assert watched.changed()


def test_nobody_looks_before_the_period_is_over(path: Path) -> None:
    watched = Watched([path], HOUR_S)

    path.write_text("another length")
    assert not watched.changed()
