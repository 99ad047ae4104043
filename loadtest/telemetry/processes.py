"""A look at processes and their children: CPU, memory, switches, threads.

Processes come, go and are replaced while they are looked at; none of that is an error here.
"""

import os
import sys
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadtest.telemetry.samples import ProcessSample
from loadtest.telemetry.totals import Total

# Finding children reads the whole process table: 0.7 ms with 90 processes on it.
_CHILDREN_EVERY_S = 5.0
_PER_THREAD = sys.platform == "linux"
_VOLUNTARY, _INVOLUNTARY = b"\nvoluntary_ctxt_switches:", b"\nnonvoluntary_ctxt_switches:"
_PROC = Path("/proc")

Switches = tuple[int, int]
"""Voluntary and involuntary so far."""


@dataclass(frozen=True)
class _Seen:
    """One process at one moment."""

    cpu_s: float
    rss_bytes: int
    threads: int
    switches: dict[Hashable, Switches]


class Family:
    """Some processes and everything that they started, as one."""

    def __init__(self, roots: Callable[[], Iterable[int]]) -> None:
        """`roots` is asked at every look, so it may name more of them later."""
        self._roots = roots
        self._members: dict[int, psutil.Process] = {}
        self._known: frozenset[int] = frozenset()
        self._rescan_at_s = float("-inf")
        self._cpu_s = Total(0.0)
        self._voluntary = Total(0)
        self._involuntary = Total(0)
        self.is_forbidden = False
        """Some process belongs to another user, and the system does not show it."""

    def look(self, at_s: float) -> ProcessSample | None:
        """Return the sum over all of them, None when none is left."""
        self._find(at_s)
        seen: dict[Hashable, _Seen] = {}
        for pid, process in list(self._members.items()):
            try:
                found = _see(process)
            except psutil.NoSuchProcess:
                found = None
            except psutil.AccessDenied:
                self.is_forbidden, found = True, None
            if found is None:
                # Perhaps it was replaced: look for children again at the next look.
                del self._members[pid]
                self._rescan_at_s = float("-inf")
            else:
                seen[process] = found
        if not seen:
            return None
        return self._sum(at_s, seen)

    def _find(self, at_s: float) -> None:
        roots = frozenset(self._roots())
        if roots == self._known and at_s < self._rescan_at_s:
            return
        self._known, self._rescan_at_s = roots, at_s + _CHILDREN_EVERY_S
        for pid in roots:
            for process in family(pid):
                # A new object for the same process would have no reason to replace the old one,
                # but one for another process that has its number must.
                if self._members.get(process.pid) != process:
                    self._members[process.pid] = process

    def _sum(self, at_s: float, seen: dict[Hashable, _Seen]) -> ProcessSample:
        switches = {
            (process, part): counts
            for process, one in seen.items()
            for part, counts in one.switches.items()
        }
        voluntary = self._voluntary.update({key: two[0] for key, two in switches.items()})
        involuntary = self._involuntary.update({key: two[1] for key, two in switches.items()})
        return ProcessSample(
            at_s=at_s,
            cpu_s=self._cpu_s.update({process: one.cpu_s for process, one in seen.items()}),
            rss_bytes=sum(one.rss_bytes for one in seen.values()),
            voluntary_switches=voluntary if switches else None,
            involuntary_switches=involuntary if switches else None,
            threads=sum(one.threads for one in seen.values()),
        )


def family(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants; nothing when it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []


def is_alive(process: psutil.Process) -> bool:
    """It is still the same process, and not one that waits only for its parent to notice."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False


def name_of(process: psutil.Process) -> str:
    """Return what the system calls it."""
    try:
        return process.name()
    except psutil.Error:
        return "gone"


def _see(process: psutil.Process) -> _Seen | None:
    if not is_alive(process):
        return None
    with process.oneshot():
        times = process.cpu_times()
        return _Seen(
            times.user + times.system,
            process.memory_info().rss,
            process.num_threads(),
            _switches(process),
        )


def _switches(process: psutil.Process) -> dict[Hashable, Switches]:
    """Return the switches of every thread; Linux counts by thread, others by process."""
    if not _PER_THREAD:
        both = process.num_ctx_switches()
        return {0: (both.voluntary, both.involuntary)}
    counts: dict[Hashable, Switches] = {}
    tasks = _PROC / str(process.pid) / "task"
    for thread in _names(tasks):
        # One that ended meanwhile is no reason to forget the others: they would count twice.
        with suppress(OSError):
            counts[thread] = parse_switches((tasks / thread / "status").read_bytes())
    return counts


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  (thousands of threads: names are enough)
    except OSError:
        return []


def parse_switches(status: bytes) -> Switches:
    """Return what Linux's `/proc/PID/task/TID/status` counts."""
    return _after(status, _VOLUNTARY), _after(status, _INVOLUNTARY)


def _after(status: bytes, name: bytes) -> int:
    _, found, rest = status.partition(name)
    return int(rest.partition(b"\n")[0]) if found else 0
