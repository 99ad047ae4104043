"""The door: how many calls and bytes may be inside at once, and whether it is still open.

Lives on the event loop; no locks. The batcher has limits of its own, in requests and tokens.
"""

import asyncio
from time import monotonic

from server.errors import Draining, Overloaded


class Admission:
    """Counts the calls inside and refuses beyond a limit or after closing."""

    def __init__(self, max_inflight_requests: int, max_inflight_bytes: int) -> None:
        self._max_requests = max_inflight_requests
        self._max_bytes = max_inflight_bytes
        self._open = True
        self._empty = asyncio.Event()
        self._empty.set()
        self._last_refusal = 0.0
        self.num_inflight = 0
        self.inflight_bytes = 0

    def enter(self, num_bytes: int) -> None:
        """Take one place for a message of so many bytes; every `enter` is followed by a `leave`.

        A single message beyond the limit on bytes is let into an empty room.

        Raises:
            Draining: the door is closed for good.
            Overloaded: as many calls or bytes as allowed are inside.
        """
        if not self._open:
            self._last_refusal = monotonic()
            raise Draining("the server is shutting down; send the call to another replica")
        if self.num_inflight >= self._max_requests:
            raise Overloaded(
                f"{self._max_requests} calls are being answered, which is the limit; retry later"
            )
        if self.num_inflight and self.inflight_bytes + num_bytes > self._max_bytes:
            raise Overloaded(
                f"calls of {self.inflight_bytes} bytes are being answered and this one has "
                f"{num_bytes}; the limit is {self._max_bytes}; retry later"
            )
        self.num_inflight += 1
        self.inflight_bytes += num_bytes
        self._empty.clear()

    def leave(self, num_bytes: int) -> None:
        """Give the place back."""
        self.num_inflight -= 1
        self.inflight_bytes -= num_bytes
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
