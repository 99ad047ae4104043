"""The file of a Unix socket: gRPC would take over a live server's in silence, so it is checked."""

import socket
import stat
from contextlib import suppress
from pathlib import Path

from server.errors import ConfigInvalid

MAX_PATH_BYTES = 107
"""What fits the kernel's address, with its closing zero."""
CONNECT_S = 1.0


class UnixSocket:
    """A path where a server is about to listen, and later the file that it made there."""

    def __init__(self, path: str) -> None:
        """Free the path of what a dead server left.

        Raises:
            ConfigInvalid: a live server or something else is there, or nothing can be.
        """
        self.path = Path(path).absolute()
        self.address = f"unix:{self.path}"
        self._inode: int | None = None
        if len(bytes(self.path)) > MAX_PATH_BYTES:
            raise ConfigInvalid(
                f"--unix-socket {self.path}: longer than {MAX_PATH_BYTES} bytes; use a shorter path"
            )
        try:
            self._free()
        except OSError as error:
            raise ConfigInvalid(f"--unix-socket {self.path}: {error.strerror}") from error

    def bound(self) -> None:
        """Remember the file that the server has just made."""
        self._inode = self.path.stat().st_ino

    def remove(self) -> None:
        """Remove that file, unless somebody else has put another in its place."""
        with suppress(FileNotFoundError):
            if self._inode is not None and self.path.stat().st_ino == self._inode:
                self.path.unlink()

    def _free(self) -> None:
        if not self.path.parent.is_dir():
            raise ConfigInvalid(
                f"--unix-socket {self.path}: there is no directory {self.path.parent}; create it"
            )
        if not self.path.exists():
            return
        if not stat.S_ISSOCK(self.path.stat().st_mode):
            raise ConfigInvalid(f"--unix-socket {self.path}: is a file and no socket; remove it")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(CONNECT_S)
            try:
                probe.connect(str(self.path))
            except ConnectionRefusedError:
                self.path.unlink()
                return
        raise ConfigInvalid(
            f"--unix-socket {self.path}: another server answers there; stop it or use another path"
        )
