"""The door: how many calls may be inside at once, and whether it is still open.

Lives on the event loop; no locks. The batcher has limits of its own, in requests and tokens.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from server.errors import Draining, Overloaded


class Admission:
    """Counts the calls inside and refuses beyond a limit or after closing."""

    def __init__(self, max_inflight_requests: int) -> None:
        self._max = max_inflight_requests
        self._open = True
        self._empty = asyncio.Event()
        self._empty.set()
        self._last_refusal = 0.0
        self.num_inflight = 0

    @contextmanager
    def permit(self) -> Iterator[None]:
        """Hold one place for the duration of a call.

        Raises:
            Draining: the door is closed for good.
            Overloaded: as many calls as allowed are inside.
        """
        if not self._open:
            self._last_refusal = monotonic()
            raise Draining("the server is shutting down; send the call to another replica")
        if self.num_inflight >= self._max:
            raise Overloaded(
                f"{self._max} calls are being answered, which is the limit; retry later"
            )
        self.num_inflight += 1
        self._empty.clear()
        try:
            yield
        finally:
            self.num_inflight -= 1
            if not self.num_inflight:
                self._empty.set()

    def close(self) -> None:
        """Admit nobody from now on. Calls inside go on."""
        self._open = False

    async def empty(self) -> None:
        """Wait until no call is inside."""
        await self._empty.wait()

    async def quiet(self, period_s: float) -> None:
        """Wait, after closing, until nobody has knocked for a while."""
        rest_s = period_s
        while rest_s > 0:
            await asyncio.sleep(rest_s)
            rest_s = self._last_refusal + period_s - monotonic()
