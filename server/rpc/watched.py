"""Files that are renewed while the server runs: says when they changed, and looks rarely.

Looking is left to whoever needs the files next, so an idle server needs no timer. Any thread may
ask. Knows nothing of what the files hold.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from time import monotonic

Signature = tuple[tuple[int, ...], ...]


class Watched:
    """Some files and when they were last looked at."""

    def __init__(self, paths: Sequence[Path], period_s: float) -> None:
        """Remember the files as they are now: read them after this, not before."""
        self._paths = tuple(paths)
        self._period_s = period_s
        self._lock = Lock()
        self._seen = self._signature()
        self._next_look = monotonic() + period_s

    def changed(self) -> bool:
        """Return whether a file changed since the last look; false between two looks.

        A change is reported once, so a new file that turns out to be broken is not tried again
        before it changes again.
        """
        if monotonic() < self._next_look:
            return False
        with self._lock:
            now = monotonic()
            if now < self._next_look:
                return False  # another thread has just looked
            self._next_look = now + self._period_s
            signature = self._signature()
            changed = signature != self._seen
            self._seen = signature
            return changed

    def _signature(self) -> Signature:
        return tuple(_signature(path) for path in self._paths)


def _signature(path: Path) -> tuple[int, ...]:
    # Follows links: Kubernetes renews a secret by moving the link to the directory that holds it.
    try:
        found = os.stat(path)  # noqa: PTH116  (Path.stat is the same call, slower)
    except OSError:
        return ()
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
