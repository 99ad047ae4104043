"""The queue: its counters are exact after any history, and nobody is lost or served twice."""

import asyncio
import math

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from server.batching.packing import TokenSequence
from server.batching.request_queue import QueueLimits, RequestQueue, Waiting
from server.errors import InvalidRequest, QueueFull

LIMITS = QueueLimits(max_requests=5, max_size=60)


def request(
    lengths: list[int], deadline: float, loop: asyncio.AbstractEventLoop
) -> Waiting[TokenSequence]:
    sequences = [TokenSequence(np.zeros(length, np.int64), np.arange(length)) for length in lengths]
    return Waiting(sequences, deadline, enqueued=0.0, done=loop.create_future())


class QueueHistory(RuleBasedStateMachine):
    """Puts, takes, discards and lets time pass; a plain list of what is open is the model."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.queue: RequestQueue[TokenSequence] = RequestQueue(LIMITS)
        self.open: list[tuple[Waiting[TokenSequence], int]] = []
        self.now = 0.0

    def teardown(self) -> None:
        self.loop.close()

    def tokens(self) -> int:
        return sum(len(one.units[index]) for one, index in self.open)

    @rule(
        lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4),
        lifetime=st.sampled_from([1.0, 5.0, math.inf]),
    )
    def put(self, lengths: list[int], lifetime: float) -> None:
        new = request(lengths, self.now + lifetime, self.loop)
        requests = {id(one) for one, _ in self.open}
        if sum(lengths) > LIMITS.max_size:
            with pytest.raises(InvalidRequest):
                self.queue.put(new)
        elif len(requests) == LIMITS.max_requests or self.tokens() + sum(lengths) > LIMITS.max_size:
            with pytest.raises(QueueFull):
                self.queue.put(new)
        else:
            self.queue.put(new)
            self.open.extend((new, index) for index in range(len(lengths)))

    @rule(budget=st.integers(1, 80), count=st.integers(1, 4))
    def take(self, budget: int, count: int) -> None:
        alive = [item for item in self.open if item[0].deadline > self.now]
        seen = self.queue.peek(budget, self.now)
        assert seen == [one.units[index] for one, index in alive[: len(seen)]]
        taken = self.queue.take(min(count, len(seen)), self.now)
        assert [(item.request, item.index) for item in taken] == alive[: len(taken)]
        self.open = [item for item in self.open if item not in alive[: len(taken)]]

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from([one for one, _ in self.open]))
        self.queue.discard(gone)
        self.queue.discard(gone)
        self.open = [item for item in self.open if item[0] is not gone]

    @rule(seconds=st.sampled_from([0.5, 2.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def counters_are_exact(self) -> None:
        assert self.queue.size == self.tokens()
        assert self.queue.num_requests == len({id(one) for one, _ in self.open})


TestQueueHistory = QueueHistory.TestCase
TestQueueHistory.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
