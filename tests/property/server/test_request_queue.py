"""The queue: its counters are exact after any history, and nobody is lost or served twice."""

import asyncio
import math

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from server.batching.packing import TokenSequence
from server.batching.request_queue import PATIENCE_S, QueueLimits, RequestQueue, Waiting
from server.errors import InvalidRequest, QueueFull

LIMITS = QueueLimits(max_requests=5, max_size=60)


AGEING_S = 2.0
NUM_LEVELS = 3

Open = tuple[Waiting[TokenSequence], int]


class QueueHistory(RuleBasedStateMachine):
    """Puts, takes, discards and lets time pass; a plain list of what is open is the model."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.queue: RequestQueue[TokenSequence] = RequestQueue(LIMITS, AGEING_S)
        self.open: list[Open] = []
        self.now = 0.0

    def teardown(self) -> None:
        self.loop.close()

    def request(self, lengths: list[int], lifetime: float, priority: int) -> Waiting[TokenSequence]:
        units = [TokenSequence(np.zeros(length, np.int64), np.arange(length)) for length in lengths]
        deadline = self.now + lifetime
        return Waiting(units, deadline, self.now, self.loop.create_future(), priority)

    def tokens(self) -> int:
        return sum(len(one.units[index]) for one, index in self.open)

    def urgency(self, item: Open) -> tuple[float, float]:
        request = item[0]
        risen = math.floor((self.now - request.enqueued) / AGEING_S)
        return (
            max(1, request.priority - risen),
            min(request.deadline, request.enqueued + PATIENCE_S),
        )

    @rule(
        lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4),
        lifetime=st.sampled_from([1.0, 5.0, math.inf]),
        priority=st.integers(1, NUM_LEVELS),
    )
    def put(self, lengths: list[int], lifetime: float, priority: int) -> None:
        new = self.request(lengths, lifetime, priority)
        requests = {id(one) for one, _ in self.open}
        if sum(lengths) > LIMITS.max_size:
            with pytest.raises(InvalidRequest):
                self.queue.put(new)
        elif len(requests) == LIMITS.max_requests or self.tokens() + sum(lengths) > LIMITS.max_size:
            with pytest.raises(QueueFull):
                self.queue.put(new)
        else:
            before = [item for item in self.open if self.urgency(item) <= self.urgency((new, 0))]
            expected = sum(len(one.units[index]) for one, index in before)
            if all(self.urgency(item) != self.urgency((new, 0)) for item in self.open):
                assert self.queue.size_before(new.deadline, priority, self.now) == expected
            self.queue.put(new)
            self.open.extend((new, index) for index in range(len(lengths)))

    @rule(size=st.integers(1, 80), data=st.data())
    def take(self, size: int, data: st.DataObject) -> None:
        # Sorting is stable: what is equally urgent stays in the order of arrival.
        alive = [item for item in self.open if item[0].deadline > self.now]
        alive.sort(key=self.urgency)
        seen = self.queue.window(size, self.now)
        assert seen == [one.units[index] for one, index in alive[: len(seen)]]
        assert len(seen) == len(alive) or sum(map(len, seen)) > size
        places = data.draw(st.sets(st.sampled_from(range(len(seen)))) if seen else st.just(set()))
        taken = self.queue.take(sorted(places))
        assert [(item.request, item.index) for item in taken] == [
            alive[place] for place in sorted(places)
        ]
        gone = {(id(item.request), item.index) for item in taken}
        self.open = [item for item in self.open if (id(item[0]), item[1]) not in gone]

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from([one for one, _ in self.open]))
        self.queue.discard(gone)
        self.queue.discard(gone)
        self.open = [item for item in self.open if item[0] is not gone]

    @rule(seconds=st.sampled_from([0.5, 2.0, 12.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def counters_are_exact(self) -> None:
        assert self.queue.size == self.tokens()
        assert self.queue.num_requests == len({id(one) for one, _ in self.open})
        oldest = min((one.enqueued for one, _ in self.open), default=self.now)
        assert self.queue.oldest_age_s(self.now) == self.now - oldest


TestQueueHistory = QueueHistory.TestCase
TestQueueHistory.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
