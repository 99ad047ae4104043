"""What a task hands its units to: the batcher, or the cache that stands in front of it."""

from collections.abc import Sequence
from typing import Protocol

from server.batching.layout import U
from server.batching.request_queue import Waiting
from server.batching.statistics import Statistics


class Submitter(Protocol[U]):
    """Turns units into answers."""

    @property
    def statistics(self) -> Statistics:
        """Counters of the model."""

    def require_hope(self, deadline: float, priority: int = 0) -> None:
        """Refuse a request that is sure to expire, before anything is done for it."""

    async def submit(self, units: Sequence[U], deadline: float, *, priority: int = 0) -> Waiting[U]:
        """Return the request with an outcome for each unit; see `Batcher.submit`."""
