"""Regions are opened carefully and used only within their bounds."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.errors import (
    AlreadyExists,
    InvalidRequest,
    RegionNotFound,
    RegionUnusable,
    ServeError,
    Unsupported,
)
from server.rpc import shared_memory
from server.rpc.parameters import Place
from server.rpc.shared_memory import Regions

SIZE = 64


@pytest.fixture
def regions(tmp_path: Path) -> Iterator[Regions]:
    (tmp_path / "object").write_bytes(bytes(range(SIZE)))
    opened = Regions(enabled=True, root=tmp_path)
    yield opened
    opened.unregister("")


def num_open() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    "key", ["object", "//object", "/a/../object", "/..", "/.", "/", "", "/a\0b"]
)
def test_malformed_key_is_refused(regions: Regions, key: str) -> None:
    with pytest.raises(InvalidRequest, match="malformed"):
        regions.register("r", key, 0, 8)


@pytest.mark.parametrize(
    ("name", "key", "offset", "size", "kind"),
    [
        ("", "/object", 0, 8, InvalidRequest),
        ("r", "/object", 0, SIZE + 1, InvalidRequest),
        ("r", "/object", SIZE, 1, InvalidRequest),
        ("r", "/object", 2**64 - 1, 2**64 - 1, InvalidRequest),
        ("r", "/nobody", 0, 8, RegionUnusable),
    ],
)
def test_region_that_cannot_be_is_refused(  # noqa: PLR0917  (one row of the table)
    regions: Regions, name: str, key: str, offset: int, size: int, kind: type[ServeError]
) -> None:
    gc.collect()  # what earlier tests left behind must not be closed in between
    before = num_open()

    with pytest.raises(kind):
        regions.register(name, key, offset, size)

    assert num_open() == before
    assert regions.status("") == []


def test_only_regular_files_are_opened(regions: Regions, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "object")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")

    for key, kind in (
        ("/link", RegionUnusable),
        ("/folder", RegionUnusable),
        ("/pipe", InvalidRequest),
    ):
        with pytest.raises(kind):
            regions.register("r", key, 0, 0)


def test_name_can_be_taken_once(regions: Regions) -> None:
    regions.register("r", "/object", 0, 8)

    with pytest.raises(AlreadyExists):
        regions.register("r", "/object", 8, 8)

    assert [(one.offset, one.num_bytes) for one in regions.status("r")] == [(0, 8)]


def test_number_of_regions_is_bounded(regions: Regions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "MAX_REGIONS", 1)
    regions.register("r", "/object", 0, 8)

    with pytest.raises(RegionUnusable, match="unregister one"):
        regions.register("s", "/object", 0, 8)


def test_bytes_are_read_and_written_within_the_region(regions: Regions, tmp_path: Path) -> None:
    regions.register("r", "/object", 8, 8)

    assert regions.read(Place("r", 2, 3)) == bytes([10, 11, 12])
    regions.write(Place("r", 6, 2), b"\xff\xfe", "x")

    assert (tmp_path / "object").read_bytes()[13:17] == bytes([13, 0xFF, 0xFE, 16])


@pytest.mark.parametrize("place", [Place("r", 0, 9), Place("r", 8, 1), Place("r", 2**63, 1)])
def test_place_beyond_the_region_is_refused(regions: Regions, place: Place) -> None:
    regions.register("r", "/object", 0, 8)

    with pytest.raises(InvalidRequest, match="beyond region 'r'"):
        regions.read(place)


def test_output_larger_than_its_place_is_refused(regions: Regions, tmp_path: Path) -> None:
    regions.register("r", "/object", 0, 8)

    with pytest.raises(RegionUnusable, match="output 'x' has 5 bytes"):
        regions.write(Place("r", 0, 4), bytes(5), "x")

    assert (tmp_path / "object").read_bytes() == bytes(range(SIZE))


def test_object_that_became_shorter_is_noticed(regions: Regions, tmp_path: Path) -> None:
    regions.register("r", "/object", 0, SIZE)
    os.truncate(tmp_path / "object", 4)

    with pytest.raises(RegionUnusable, match="became shorter"):
        regions.read(Place("r", 0, SIZE))
    with pytest.raises(RegionUnusable, match="became shorter"):
        regions.write(Place("r", 0, SIZE), bytes(SIZE), "x")

    assert (tmp_path / "object").stat().st_size == 4


def test_object_that_was_removed_stays_usable(regions: Regions, tmp_path: Path) -> None:
    regions.register("r", "/object", 0, 8)
    (tmp_path / "object").unlink()

    assert regions.read(Place("r", 0, 2)) == bytes([0, 1])


def test_unregistered_region_is_closed_and_unknown(regions: Regions) -> None:
    before = num_open()
    regions.register("r", "/object", 0, 8)
    regions.register("s", "/object", 0, 8)

    regions.unregister("r")
    regions.unregister("nobody")

    with pytest.raises(RegionNotFound):
        regions.read(Place("r", 0, 8))
    regions.unregister("")
    assert regions.status("") == []
    assert num_open() == before


def test_nothing_is_registered_when_it_is_off(tmp_path: Path) -> None:
    (tmp_path / "object").write_bytes(bytes(8))
    off = Regions(enabled=False, root=tmp_path)

    with pytest.raises(Unsupported, match="--shared-memory"):
        off.register("r", "/object", 0, 8)
    with pytest.raises(Unsupported, match="--shared-memory"):
        off.read(Place("r", 0, 8))
    off.unregister("")
