"""Stands where the batcher stands, and ends each run when and how the test says."""

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any

import numpy as np

from server.batching.layout import Answer
from server.batching.packing import TokenSequence
from server.batching.request_queue import Waiting
from server.batching.statistics import Statistics
from server.errors import InvalidRequest, RunFailed, ServeError

POISON = 9
"""A sequence with this id fails."""
RUN_S = 0.25
NUM_LEVELS = 3


def sequence(ids: Sequence[int], first_position: int = 0) -> TokenSequence:
    array = np.array(ids, np.int64)
    return TokenSequence(array, np.arange(first_position, first_position + len(ids)))


def answer(unit: TokenSequence, batch: np.ndarray[Any, Any] | None = None) -> Answer:
    """What running a sequence gives: two outputs, views of a whole batch."""
    values = np.stack([unit.input_ids * 3, unit.position_ids]).astype(np.float32)
    whole = np.zeros((4, *values.shape), np.float32) if batch is None else batch
    whole[1] = values
    return whole[1, 0], whole[1]


class HeldRuns:
    """Every submitted request waits until `finish` or `fail`."""

    def __init__(self) -> None:
        self.statistics = Statistics()
        self.open: list[Waiting[TokenSequence]] = []
        self.submitted: list[list[list[int]]] = []
        """Ids of every sequence of every request that came."""
        self.refuse: ServeError | None = None
        """What the next request is refused with."""
        self.failed: set[asyncio.Task[Any]] = set()
        """Callers whose own request failed."""

    def require_hope(self, deadline: float, priority: int = 0) -> None:
        del deadline
        if not 0 <= priority <= NUM_LEVELS:
            raise InvalidRequest("no such priority")

    async def submit(
        self, units: Sequence[TokenSequence], deadline: float, *, priority: int = 0
    ) -> Waiting[TokenSequence]:
        done = asyncio.get_running_loop().create_future()
        request = Waiting(units, deadline, monotonic(), done, priority)
        task = asyncio.current_task()
        assert task is not None
        self.submitted.append([unit.input_ids.tolist() for unit in units])
        self.open.append(request)
        try:
            if self.refuse is not None:
                error, self.refuse = self.refuse, None
                raise error
            await done
        except ServeError:
            self.failed.add(task)
            raise
        finally:
            if request in self.open:
                self.open.remove(request)
        return request

    def finish(self, number: int = 0) -> None:
        request = self.open.pop(number)
        for index, unit in enumerate(request.units):
            is_poisonous = POISON in unit.input_ids
            request.outcomes[index] = RunFailed("poison") if is_poisonous else answer(unit)
        request.num_unanswered = 0
        request.queue_s, request.run_s = 0.0, RUN_S
        request.batch_units, request.batch_size = 4, 32
        request.done.set_result(None)

    def fail(self, error: ServeError, number: int = 0) -> None:
        self.open.pop(number).done.set_exception(error)


async def settle() -> None:
    """Let every task go as far as it can without a run that ends."""
    for _ in range(30):
        await asyncio.sleep(0)
