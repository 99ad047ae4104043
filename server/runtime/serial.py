"""One thread that runs callers' work one at a time, behind a bounded queue.

For work beside the batches that is rare and large: however much of it comes, it takes one thread.
Belongs to the event loop that its callers run on; no locks.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar

from server.errors import QueueFull
from server.runtime.session import Stop

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class SerialLimits:
    """Who may wait, and for whom."""

    max_waiting: int
    """Callers beside the one whose work runs."""
    ageing_s: float = 0.0
    """A caller gains one level of priority each time it has waited this long; 0 for never."""


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    level: int
    since: float
    turn: asyncio.Future[None]


class SerialExecutor:
    """Runs work in the order of priority, then of arrival."""

    def __init__(self, name: str, limits: SerialLimits) -> None:
        self._limits = limits
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._waiting: list[_Place] = []
        self._is_taken = False

    @property
    def num_waiting(self) -> int:
        """Callers that wait for their turn."""
        return len(self._waiting)

    async def run(self, work: Callable[[Stop], Result], level: int = 1) -> Result:
        """Wait for a turn and run `work` on the thread.

        A caller that is cancelled leaves the queue at once. Work under way is asked to stop, and
        the next begins when it has ended.

        Args:
            work: gets what tells it that nobody waits any more.
            level: of priority; 1 goes first.

        Raises:
            QueueFull: as many callers as may wait do.
        """
        if self._is_taken:
            await self._wait(level)
        self._is_taken = True
        stop = Stop()
        running = asyncio.get_running_loop().run_in_executor(self._thread, work, stop)
        running.add_done_callback(lambda _: self._pass_on())
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            stop.now()
            raise

    async def _wait(self, level: int) -> None:
        if len(self._waiting) >= self._limits.max_waiting:
            raise QueueFull(
                f"{self._limits.max_waiting} calls of this kind wait for this model, which is the "
                "limit; retry later"
            )
        place = _Place(level, monotonic(), asyncio.get_running_loop().create_future())
        self._waiting.append(place)
        try:
            await place.turn
        except asyncio.CancelledError:
            if place in self._waiting:
                self._waiting.remove(place)
            else:
                self._pass_on()  # the turn came as the caller left
            raise

    def _pass_on(self) -> None:
        present = [place for place in self._waiting if not place.turn.cancelled()]
        self._is_taken = bool(present)
        if present:
            now = monotonic()
            place = min(present, key=lambda one: self._rank(one, now))
            self._waiting.remove(place)
            place.turn.set_result(None)

    def _rank(self, place: _Place, now: float) -> tuple[int, float]:
        ageing_s = self._limits.ageing_s
        gained = int((now - place.since) / ageing_s) if ageing_s else 0
        return max(1, place.level - gained), place.since

    def close(self) -> None:
        """Wait for the work under way and end the thread. Nobody may wait."""
        self._thread.shutdown(wait=True)
