"""Regions of POSIX shared memory that clients of this machine registered.

Lives on the event loop. Tensors are copied out and in with `pread` and `pwrite` on the open object
instead of being mapped: a client may shorten its object at any time, and touching a page of a
mapping that is no longer there would kill the process. A copy is needed anyhow, as a client may
also change the bytes after they were checked.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from server.errors import (
    AlreadyExists,
    InvalidRequest,
    RegionNotFound,
    RegionUnusable,
    Unsupported,
)
from server.rpc.parameters import Place

ROOT = Path("/dev/shm")  # noqa: S108  (where Linux keeps POSIX shared memory)
KEY = re.compile(r"/[^/\0]{1,254}")
MAX_REGIONS = 1024
"""Each holds an open file."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of an open shared memory object."""

    name: str
    key: str
    offset: int
    num_bytes: int
    descriptor: int


class Regions:
    """What is registered, by name."""

    def __init__(self, *, enabled: bool, root: Path = ROOT) -> None:
        self._enabled = enabled
        self._root = root
        self._regions: dict[str, Region] = {}

    def register(self, name: str, key: str, offset: int, num_bytes: int) -> None:
        """Open an object and remember a part of it.

        Raises:
            Unsupported: the server was started without shared memory.
            AlreadyExists: the name is taken.
            InvalidRequest: a malformed key, or a part that reaches beyond the object.
            RegionUnusable: no such object, one that cannot be opened, too many regions.
        """
        self._require_enabled()
        if not name:
            raise InvalidRequest("name is empty; give the region one")
        if name in self._regions:
            raise AlreadyExists(f"region '{name}' is registered already; unregister it first")
        if not KEY.fullmatch(key) or key in {"/.", "/.."}:
            raise InvalidRequest(f"key '{key}' is malformed; it must be a slash and a name")
        if len(self._regions) >= MAX_REGIONS:
            raise RegionUnusable(f"{MAX_REGIONS} regions are registered; unregister one first")
        descriptor = _open(self._root / key[1:], key)
        region = Region(name, key, offset, num_bytes, descriptor)
        try:
            _require_object(region)
        except BaseException:
            os.close(descriptor)
            raise
        self._regions[name] = region

    def unregister(self, name: str) -> None:
        """Forget a region, or with an empty name all of them. An unknown name is no error."""
        for one in [name] if name else list(self._regions):
            region = self._regions.pop(one, None)
            if region is not None:
                os.close(region.descriptor)

    def status(self, name: str) -> list[Region]:
        """Return a region, or with an empty name all of them.

        Raises:
            Unsupported, RegionNotFound.
        """
        self._require_enabled()
        return [self._get(name)] if name else list(self._regions.values())

    def require(self, place: Place) -> None:
        """Refuse a place that is not inside a registered region.

        Raises:
            Unsupported, RegionNotFound.
            InvalidRequest: it reaches beyond the region.
        """
        self._within(place)

    def read(self, place: Place) -> bytes:
        """Return a copy of the bytes at a place.

        Raises:
            Unsupported, RegionNotFound, InvalidRequest: as `require`.
            RegionUnusable: the object was shortened.
        """
        region = self._within(place)
        data = os.pread(region.descriptor, place.num_bytes, region.offset + place.offset)
        if len(data) != place.num_bytes:
            raise RegionUnusable(_shortened(region))
        return data

    def write(self, place: Place, data: bytes, output: str) -> None:
        """Copy the bytes of an output to a place.

        Raises:
            Unsupported, RegionNotFound, InvalidRequest: as `require`.
            RegionUnusable: the place is too small, or the object was shortened.
        """
        region = self._within(place)
        if len(data) > place.num_bytes:
            raise RegionUnusable(
                f"output '{output}' has {len(data)} bytes, its place in region '{place.region}' "
                f"has {place.num_bytes}; make it larger"
            )
        start = region.offset + place.offset
        # Writing beyond the end would make the object longer instead of failing.
        if os.fstat(region.descriptor).st_size < start + len(data):
            raise RegionUnusable(_shortened(region))
        try:
            written = os.pwrite(region.descriptor, data, start)
        except OSError as error:
            # A client may make an object larger than the memory behind it.
            raise RegionUnusable(
                f"region '{region.name}' cannot hold output '{output}': {error.strerror}"
            ) from error
        if written != len(data):
            raise RegionUnusable(f"region '{region.name}' took only a part of output '{output}'")

    def _within(self, place: Place) -> Region:
        self._require_enabled()
        region = self._get(place.region)
        if place.offset + place.num_bytes > region.num_bytes:
            raise InvalidRequest(
                f"{place.num_bytes} bytes from {place.offset} on reach beyond region "
                f"'{place.region}', which has {region.num_bytes}"
            )
        return region

    def _get(self, name: str) -> Region:
        region = self._regions.get(name)
        if region is None:
            raise RegionNotFound(f"region '{name}' is not registered; register it first")
        return region

    def _require_enabled(self) -> None:
        if not self._enabled:
            raise Unsupported(
                "system shared memory is off; start the server with --shared-memory, or send "
                "tensors in the message"
            )


def _open(path: Path, key: str) -> int:
    try:
        # A link could lead anywhere; a pipe or device would block or worse.
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise RegionUnusable(
            f"shared memory object '{key}' cannot be opened for reading and writing: "
            f"{error.strerror}"
        ) from error


def _require_object(region: Region) -> None:
    status = os.fstat(region.descriptor)
    if not S_ISREG(status.st_mode):
        raise InvalidRequest(f"key '{region.key}' is no shared memory object")
    if region.offset + region.num_bytes > status.st_size:
        raise InvalidRequest(
            f"{region.num_bytes} bytes from {region.offset} on reach beyond object "
            f"'{region.key}', which has {status.st_size}"
        )


def _shortened(region: Region) -> str:
    return f"shared memory object '{region.key}' became shorter than region '{region.name}'"
