"""Where figures about the server come from: its processes on this machine, or its metrics page."""

import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Protocol
from urllib.request import ProxyHandler, Request, build_opener

import psutil

from loadtest.telemetry.page import CPU, RSS, parse, restarts
from loadtest.telemetry.processes import Family, family, is_alive
from loadtest.telemetry.samples import ProcessSample
from loadtest.telemetry.totals import Total

# A page is fetched between looks half a second apart or more, and nobody waits for it.
_TIMEOUT_S = 0.5
_MOST_BYTES = 16 << 20


class ServerSource(Protocol):
    """Something that can be asked how the server does."""

    description: str
    """How it was found, for people; empty when it was not."""
    restarts: int
    """Times that a process of the server went or began anew."""
    notes: list[str]
    """Why something was not sampled."""

    def look(self, at_s: float) -> ProcessSample | None:
        """Return what it uses now, None when that cannot be told."""


class Unknown:
    """No server to look at, and why."""

    def __init__(self, reason: str) -> None:
        self.description = ""
        self.restarts = 0
        self.notes = [f"the server was not sampled: {reason}; pass --server-pid or --metrics"]

    def look(self, at_s: float) -> ProcessSample | None:  # noqa: ARG002  (the protocol's)
        """Return nothing."""
        return None


class LocalServer:
    """Processes of this machine with their children.

    Those that take calls are watched: one that goes is a restart, whether or not another follows.
    """

    def __init__(
        self,
        description: str,
        find: Callable[[], tuple[psutil.Process, ...]],
        takes_calls: Callable[[psutil.Process], bool],
    ) -> None:
        """`find` returns the processes to look at; asked again when one of them has gone."""
        self.description = description
        self.restarts = 0
        self.notes: list[str] = []
        self._find = find
        self._takes_calls = takes_calls
        self._heads = find()
        self._watched = self._serving()
        # With fewer than this some are being started again.
        self._complete = len(self._watched)
        self._family = Family(lambda: [process.pid for process in self._heads])

    def look(self, at_s: float) -> ProcessSample | None:
        """Return the sum over all its processes."""
        gone = [process for process in self._watched if not is_alive(process)]
        for process in gone:
            self.restarts += 1
            self.notes.append(f"the server's process {process.pid} went before {at_s:.1f} s")
        if gone or len(self._watched) < self._complete:
            self._heads = self._find()
            self._watched = [one for one in self._watched if one not in gone]
            self._watched += [one for one in self._serving() if one not in self._watched]
        sample = self._family.look(at_s)
        if self._family.is_forbidden:
            self.notes = ["the server's process belongs to another user, and this system hides it"]
        return sample

    def _serving(self) -> list[psutil.Process]:
        """Return the heads, and of their children those that take calls."""
        return [
            process
            for head in self._heads
            for process in family(head.pid)
            if is_alive(process) and (process == head or self._takes_calls(process))
        ]


class MetricsPage:
    """A server anywhere that shows a Prometheus page."""

    def __init__(self, url: str, fetch: Callable[[str], str] | None = None) -> None:
        """Fetch it once.

        Raises:
            OSError: it cannot be fetched.
            ValueError: what is there is no such page, or has neither CPU nor memory in it.
        """
        self.description = f"metrics at {url}"
        self.restarts = 0
        self.notes: list[str] = []
        self._url = url
        self._fetch = fetch or fetch_text
        self._cpu_s = Total(0.0)
        self._failures = 0
        self._page = parse(self._fetch(url))
        if not self._page.of(CPU) and not self._page.of(RSS):
            raise ValueError(f"it has no {CPU}")

    def look(self, at_s: float) -> ProcessSample | None:
        """Return what the page says now; switches and threads are not on it."""
        try:
            page = parse(self._fetch(self._url))
        except (OSError, ValueError) as error:
            self._failures += 1
            self.notes = [
                f"{self._failures} looks at the metrics failed, last {at_s:.1f} s: {error}"
            ]
            return None
        if not page.of(CPU):
            return None
        self.restarts += restarts(self._page, page)
        self._page = page
        return ProcessSample(
            at_s=at_s,
            cpu_s=self._cpu_s.update(page.lives(CPU)),
            rss_bytes=round(sum(page.of(RSS).values())),
            voluntary_switches=None,
            involuntary_switches=None,
            threads=None,
        )


def fetch_text(url: str) -> str:
    """Return what is at an http address.

    A metrics port is asked directly, never by way of a proxy that the environment names.

    Raises:
        OSError: nothing answers in time, or not with a page.
        ValueError: what answers is not text.
    """
    opener = build_opener(ProxyHandler({}))
    request = Request(url, headers={"Accept": "text/plain"})  # noqa: S310  (find.py checks it)
    until_s = time.monotonic() + _TIMEOUT_S
    parts = []
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
            while part := answer.read1(1 << 16):
                parts.append(part)
                # The timeout is one of each read: a page that trickles in would hold up the looks.
                if time.monotonic() > until_s or sum(map(len, parts)) > _MOST_BYTES:
                    raise TimeoutError(f"{url} is too long or too slow")
    except HTTPException as error:
        raise OSError(f"{url} does not speak HTTP: {error!r}") from error
    return b"".join(parts).decode()
