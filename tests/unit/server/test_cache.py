"""The cache: a unit runs once, whoever asks for it and whoever gives up meanwhile."""

import asyncio
import gc
import math
import tracemalloc
import weakref
from collections.abc import Sequence
from time import monotonic

import numpy as np
import pytest
from held_runs import NUM_LEVELS, POISON, RUN_S, HeldRuns, answer, sequence, settle
from prometheus_client import generate_latest

from server.batching.answers import Answers, size_bytes
from server.batching.cache import MAX_LET_DOWN, Cache
from server.batching.packing import TokenSequence
from server.batching.request_queue import Waiting
from server.batching.row_layout import Row
from server.batching.unit_keys import for_rows, for_sequences
from server.errors import DeadlineExpired, InvalidRequest, QueueFull, RunFailed
from server.metrics import Metrics

ROOMY = 1 << 20
Call = asyncio.Task[Waiting[TokenSequence]]


class Cached:
    """A cache over held runs, and calls to it."""

    def __init__(self, max_bytes: int = ROOMY) -> None:
        self.metrics = Metrics()
        self.runs = HeldRuns()
        self.recorded: list[tuple[list[int], int, float]] = []
        self.cache = Cache(
            self.runs,
            for_sequences("model"),
            max_bytes,
            NUM_LEVELS,
            self.metrics.for_model("tiny", "1", "cpu"),
            on_submit=lambda sizes, level, end: self.recorded.append(([*sizes], level, end)),
        )

    def call(self, *ids: Sequence[int], deadline: float = math.inf, priority: int = 0) -> Call:
        units = [sequence(one) for one in ids]
        return asyncio.create_task(self.cache.submit(units, deadline, priority=priority))

    async def answered(self, *ids: Sequence[int]) -> Waiting[TokenSequence]:
        """Call, and finish the run that this takes, if any."""
        call = self.call(*ids)
        await settle()
        if self.runs.open:
            self.runs.finish()
        return await call


@pytest.fixture
def cached() -> Cached:
    return Cached()


def check(request: Waiting[TokenSequence], *ids: Sequence[int]) -> None:
    for one, got in zip(ids, request.answers(), strict=True):
        for expected, part in zip(answer(sequence(one)), got, strict=True):
            np.testing.assert_array_equal(part, expected)


async def test_unit_that_came_before_does_not_run_again(cached: Cached) -> None:
    check(await cached.answered([1, 2]), [1, 2])
    check(await cached.answered([3], [1, 2]), [3], [1, 2])
    check(await cached.answered([1, 2]), [1, 2])

    assert cached.runs.submitted == [[[1, 2]], [[3]]]


async def test_unit_that_comes_twice_in_a_call_runs_once(cached: Cached) -> None:
    check(await cached.answered([1], [2], [1], [1]), [1], [2], [1], [1])

    assert cached.runs.submitted == [[[1], [2]]]


async def test_units_under_way_are_not_run_a_second_time(cached: Cached) -> None:
    calls = [cached.call([1], [2]), cached.call([2]), cached.call([2], [3], [1])]
    await settle()
    assert cached.runs.submitted == [[[1], [2]], [[3]]]
    cached.runs.finish()
    cached.runs.finish()

    check(await calls[0], [1], [2])
    check(await calls[1], [2])
    check(await calls[2], [2], [3], [1])
    assert cached.cache.num_flights == 0


async def test_cancelled_caller_does_not_take_others_down(cached: Cached) -> None:
    first, second, third = cached.call([1]), cached.call([1]), cached.call([1])
    await settle()
    first.cancel()
    await settle()
    assert cached.runs.submitted == [[[1]], [[1]]]
    cached.runs.finish()

    check(await second, [1])
    check(await third, [1])
    assert first.cancelled()


async def test_callers_deadline_is_not_that_of_others(cached: Cached) -> None:
    first, second = cached.call([1]), cached.call([1])
    await settle()
    cached.runs.fail(DeadlineExpired("late"))
    await settle()
    cached.runs.finish()

    with pytest.raises(DeadlineExpired):
        await first
    check(await second, [1])


async def test_refusal_reaches_the_caller_and_leaves_nothing_behind(cached: Cached) -> None:
    cached.runs.refuse = QueueFull("full")

    with pytest.raises(QueueFull):
        await cached.call([1])
    assert (cached.cache.num_flights, cached.cache.num_bytes) == (0, 0)
    check(await cached.answered([1]), [1])


async def test_waiting_for_others_ends_at_the_own_deadline(cached: Cached) -> None:
    first = cached.call([1], deadline=monotonic() + 0.05)
    second = cached.call([1], deadline=monotonic() + 0.04)

    with pytest.raises(DeadlineExpired):
        await second
    assert cached.runs.submitted == [[[1]]]
    cached.runs.finish()
    check(await first, [1])


async def test_caller_who_was_let_down_too_often_runs_its_units_itself(cached: Cached) -> None:
    leader = cached.call([1])
    await settle()
    patient = cached.call([1])
    await settle()
    for _ in range(MAX_LET_DOWN):
        assert len(cached.runs.open) == 1
        leader.cancel()
        leader = cached.call([1])  # before the patient one has seen that its leader left
        await settle()

    assert len(cached.runs.open) == 2
    cached.runs.finish(1)
    check(await patient, [1])
    leader.cancel()


async def test_poison_fails_only_those_who_asked_for_it_and_is_not_kept(cached: Cached) -> None:
    mixed, alone, sound = cached.call([1], [POISON]), cached.call([POISON]), cached.call([1])
    await settle()
    cached.runs.finish()

    with pytest.raises(RunFailed):
        (await mixed).answers()
    with pytest.raises(RunFailed):
        (await alone).answers()
    check(await sound, [1])
    with pytest.raises(RunFailed):
        (await cached.answered([POISON])).answers()
    assert cached.runs.submitted == [[[1], [POISON]], [[POISON]]]


@pytest.mark.parametrize(
    ("first", "second", "shares"), [(3, 1, False), (0, 1, False), (1, 3, True), (2, 0, True)]
)
async def test_urgent_caller_does_not_wait_for_a_patient_one(
    cached: Cached, first: int, second: int, *, shares: bool
) -> None:
    calls = [cached.call([1], priority=first), cached.call([1], priority=second)]
    await settle()
    assert len(cached.runs.open) == (1 if shares else 2)
    cached.runs.finish(-1)
    await settle()
    assert calls[1].done()
    if not shares:
        cached.runs.finish()

    check(await calls[0], [1])
    check(await calls[1], [1])
    assert cached.cache.num_flights == 0


@pytest.mark.parametrize(("first_s", "second_s", "num_runs"), [(math.inf, 60, 2), (60, 59, 1)])
async def test_caller_does_not_wait_for_one_who_is_due_much_later(
    cached: Cached, first_s: float, second_s: float, num_runs: int
) -> None:
    now = monotonic()
    calls = [cached.call([1], deadline=now + first_s), cached.call([1], deadline=now + second_s)]
    await settle()

    assert len(cached.runs.open) == num_runs
    for _ in range(num_runs):
        cached.runs.finish()
        await settle()
    for call in calls:
        check(await call, [1])


async def test_unknown_priority_is_refused_even_for_what_is_kept(
    cached: Cached,
) -> None:
    await cached.answered([1])

    with pytest.raises(InvalidRequest):
        await cached.call([1], priority=NUM_LEVELS + 1)


async def test_answer_is_read_only_and_keeps_no_batch_alive(cached: Cached) -> None:
    call = cached.call([1, 2])
    await settle()
    batch = np.zeros((4, 2, 2), np.float32)
    (request,) = cached.runs.open
    request.outcomes[0] = answer(sequence([1, 2]), batch)
    request.done.set_result(None)
    del request
    parts = (await call).answers()[0]
    gone = weakref.ref(batch)
    del batch, call
    gc.collect()

    assert gone() is None
    for part in parts:
        with pytest.raises(ValueError, match="read-only"):
            part[...] = 0


async def test_answer_larger_than_the_cache_is_passed_on_and_not_kept() -> None:
    cached = Cached(max_bytes=100)
    for _ in range(2):
        request = await cached.answered([1, 2])
        check(request, [1, 2])
        assert not request.answers()[0][0].flags.writeable

    assert cached.cache.num_bytes == 0
    assert len(cached.runs.submitted) == 2


async def test_timings_are_those_of_the_run_and_none_for_what_is_kept(cached: Cached) -> None:
    calls = [cached.call([1]), cached.call([1])]
    await settle()
    cached.runs.finish()
    ran = [await call for call in calls]
    kept = await cached.answered([1])

    assert [(one.run_s, one.batch_units, one.batch_size) for one in ran] == [(RUN_S, 4, 32)] * 2
    assert (kept.queue_s, kept.run_s, kept.batch_units, kept.batch_size) == (0, 0, 0, 0)


async def test_hits_and_misses_are_counted_per_unit(cached: Cached) -> None:
    await cached.answered([1], [2], [1])
    await cached.answered([1], [3])

    statistics = cached.cache.statistics
    assert (statistics.cache_hit.count, statistics.cache_miss.count) == (2, 3)
    assert statistics.queue.count == 2, "the batcher counts what runs"
    exposed = generate_latest(cached.metrics.registry).decode()
    label = '{model="tiny",version="1"}'
    assert f"heed_cache_hits_total{label} 2.0" in exposed
    assert f"heed_cache_misses_total{label} 3.0" in exposed


async def test_requests_are_recorded_whether_or_not_they_run(cached: Cached) -> None:
    await cached.answered([1, 2])
    await cached.answered([1, 2], [3])

    assert cached.recorded == [([2], 2, math.inf), ([2, 1], 2, math.inf)]


def test_key_tells_apart_whatever_the_graph_reads() -> None:
    ids = np.array([1, 2], np.int64)
    types = np.zeros(2, np.int64)
    units = [
        sequence([1, 2]),
        sequence([2, 1]),
        sequence([1, 2], first_position=1),
        TokenSequence(ids, np.arange(2), types),
        TokenSequence(ids, np.arange(2), types + 1),
        TokenSequence(ids.repeat(2), np.arange(4)),
    ]
    keys = {for_sequences(model)(unit) for unit in units for model in ("one", "two")}

    assert len(keys) == 2 * len(units)
    assert {len(key) for key in keys} == {16}


def test_key_of_a_row_has_its_shapes_and_datatypes() -> None:
    arrays = [
        np.zeros((1, 2, 3), np.float32),
        np.zeros((1, 3, 2), np.float32),
        np.zeros((1, 3, 2), np.int32),
        np.zeros((1, 6), np.float32),
    ]
    rows = [Row((array,), (array.shape[1:],)) for array in arrays]
    rows.append(Row((arrays[0], arrays[1]), ((2, 3), (3, 2))))
    rows.append(Row((arrays[1], arrays[0]), ((3, 2), (2, 3))))

    assert len({for_rows("one")(row) for row in rows}) == len(rows)


def test_key_does_not_depend_on_how_an_array_lies_in_memory() -> None:
    wide = np.arange(8, dtype=np.int64)
    strided = TokenSequence(wide[::2], wide[:4])
    plain = TokenSequence(np.array([0, 2, 4, 6]), np.array([0, 1, 2, 3]))

    assert for_sequences("one")(strided) == for_sequences("one")(plain)


def test_least_recently_used_answer_goes_first() -> None:
    part = (np.zeros(4, np.float32),)
    answers = Answers(3 * size_bytes(part))
    for key in (b"a", b"b", b"c"):
        answers.put(key, part)
    answers.get(b"a")
    answers.put(b"d", part)

    assert [key for key in (b"a", b"b", b"c", b"d") if answers.get(key)] == [b"a", b"c", b"d"]


@pytest.mark.parametrize("num_parts", [1, 3])
def test_counted_bytes_are_what_memory_it_takes(num_parts: int) -> None:
    batch = np.zeros((5600, 8), np.float32)
    answers = Answers(ROOMY << 8)
    tracemalloc.start()
    try:
        for number, row in enumerate(batch):
            answers.put(number.to_bytes(16, "big"), (row,) * num_parts)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert 0.8 * answers.num_bytes < taken <= answers.num_bytes
