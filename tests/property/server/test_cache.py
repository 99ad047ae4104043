"""The cache answers what running answers, strands nobody, and stays within its bytes."""

import asyncio
import math
from collections import Counter

import numpy as np
import pytest
from held_runs import NUM_LEVELS, POISON, HeldRuns, answer, sequence, settle
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from server.batching.answers import Answers, size_bytes
from server.batching.cache import MAX_LET_DOWN, Cache
from server.batching.packing import TokenSequence
from server.batching.request_queue import Waiting
from server.batching.unit_keys import for_sequences
from server.errors import DeadlineExpired, QueueFull, RunFailed
from server.metrics import Metrics

ENTRY = size_bytes(answer(sequence([1, 2])))
SIZES = st.sampled_from([1, ENTRY - 1, ENTRY, 2 * ENTRY + 10, 1 << 20])
# Few different units, so that they meet; one of them fails.
UNITS = st.lists(st.sampled_from([(1,), (2,), (1, 2), (3,), (POISON,)]), min_size=1, max_size=5)
Ids = list[tuple[int, ...]]
Call = asyncio.Task[Waiting[TokenSequence]]


class CacheHistory(RuleBasedStateMachine):
    """Calls come, runs end or fail, and callers give up, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.runs = HeldRuns()
        self.calls: list[tuple[Ids, Call]] = []
        self.num_given_up = 0

    @initialize(max_bytes=SIZES, num_levels=st.sampled_from([1, NUM_LEVELS]))
    def open(self, max_bytes: int, num_levels: int) -> None:
        self.max_bytes, self.num_levels = max_bytes, num_levels
        metrics = Metrics().for_model("tiny", "1", "cpu")
        self.cache = Cache(self.runs, for_sequences("tiny"), max_bytes, num_levels, metrics)

    def teardown(self) -> None:
        while self.runs.open:
            self.runs.finish()
            self.settle()
        assert not self.calls, "a call was never answered"
        if hasattr(self, "cache"):
            assert self.cache.num_flights == 0
        self.loop.close()

    def settle(self) -> None:
        self.loop.run_until_complete(settle())
        for ids, call in self.calls:
            if call.done() and not call.cancelled():
                self.check(ids, call)
        self.calls = [(ids, call) for ids, call in self.calls if not call.done()]

    def check(self, ids: Ids, call: Call) -> None:
        if call in self.runs.failed:
            with pytest.raises((DeadlineExpired, QueueFull)):
                call.result()
        elif (POISON,) in ids:
            with pytest.raises(RunFailed):
                call.result().answers()
        else:
            for one, got in zip(ids, call.result().answers(), strict=True):
                for expected, part in zip(answer(sequence(one)), got, strict=True):
                    np.testing.assert_array_equal(part, expected)

    @rule(batch=st.lists(UNITS, min_size=1, max_size=3), level=st.integers(0, NUM_LEVELS))
    def submit(self, batch: list[Ids], level: int) -> None:
        for ids in batch:
            units = [sequence(one) for one in ids]
            work = self.cache.submit(units, math.inf, priority=min(level, self.num_levels))
            self.calls.append((ids, self.loop.create_task(work)))
        self.settle()

    @rule(ids=UNITS)
    def submit_refused(self, ids: Ids) -> None:
        self.runs.refuse = QueueFull("full")
        self.num_given_up += 1
        self.submit([ids], 0)
        self.runs.refuse = None

    @precondition(lambda self: self.runs.open)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        self.runs.finish(data.draw(st.integers(0, len(self.runs.open) - 1)))
        self.settle()

    @precondition(lambda self: self.runs.open)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.runs.open) - 1))
        self.runs.fail(DeadlineExpired("late"), number)
        self.num_given_up += 1
        self.settle()

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        _, call = data.draw(st.sampled_from(self.calls))
        call.cancel()
        self.num_given_up += 1
        self.settle()

    @invariant()
    def stays_within_its_bytes(self) -> None:
        if hasattr(self, "cache"):
            assert 0 <= self.cache.num_bytes <= self.max_bytes

    @invariant()
    def nothing_is_under_way_twice(self) -> None:
        if self.num_given_up < MAX_LET_DOWN and getattr(self, "num_levels", 0) == 1:
            under_way = Counter(
                tuple(unit.input_ids) for request in self.runs.open for unit in request.units
            )
            assert set(under_way.values()) <= {1}

    @invariant()
    def somebody_runs_what_others_wait_for(self) -> None:
        assert bool(self.calls) == bool(self.runs.open)


TestCacheHistory = CacheHistory.TestCase
TestCacheHistory.settings = settings(max_examples=80, stateful_step_count=20, deadline=None)


@given(
    st.integers(0, 3000),
    st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 200)), max_size=60),
)
def test_bytes_are_those_of_what_is_kept(
    max_bytes: int, steps: list[tuple[int, bool, int]]
) -> None:
    """A plain list in order of use is the model."""
    answers = Answers(max_bytes)
    kept: list[tuple[bytes, int]] = []
    for number, puts, length in steps:
        key = bytes([number])
        before = [item for item in kept if item[0] == key]
        if puts:
            size = size_bytes((np.zeros(length, np.uint8),))
            answers.put(key, (np.zeros(length, np.uint8),))
            if size > max_bytes:
                continue
            kept = [item for item in kept if item[0] != key] + [(key, size)]
            while sum(size for _, size in kept) > max_bytes:
                kept.pop(0)
        else:
            assert (answers.get(key) is not None) == bool(before)
            kept = [item for item in kept if item[0] != key] + before

        assert len(answers) == len(kept)
        assert answers.num_bytes == sum(size for _, size in kept) <= max_bytes
