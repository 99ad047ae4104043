"""The batcher on a real session: order, deadlines, prediction, ended runs, poison, delay."""

import asyncio
import math
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import get_native_id
from time import monotonic, process_time
from typing import Any

import bundles
import numpy as np
import pytest
from waiting import until

from server.batching import setup
from server.batching.batcher import Batcher
from server.batching.packing import TokenSequence
from server.batching.request_queue import Waiting
from server.batching.statistics import Statistics
from server.config import ServerConfig
from server.errors import Cancelled, DeadlineExpired, InvalidRequest, PredictedLate, RunFailed
from server.metrics import Metrics
from server.repository.bundle import open_bundle
from server.runtime.pool import SessionPool
from server.runtime.session import Session, SessionConfig, Stop

WORD, SLOW = 10, bundles.SLOW_ID
LEVELS = 3
LONG_S = 60.0
"""A deadline that a test never reaches."""


@pytest.fixture(scope="module")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.build_encoder(tmp_path_factory.mktemp("models"))


@pytest.fixture
def pool(bundle_path: Path) -> Iterator[SessionPool]:
    pool = SessionPool([Session(bundle_path / "model.onnx", SessionConfig())], 1)
    yield pool
    pool.close()


def batcher(bundle_path: Path, pool: SessionPool, **changes: Any) -> Batcher[TokenSequence]:
    """Return a batcher whose runs hold one sequence, unless changed."""
    manifest, config = open_bundle(bundle_path).manifest, ServerConfig()
    options = setup.sequence_options(manifest, config)
    options = replace(options, **({"budget": 1, "num_levels": LEVELS, "ageing_s": 0.0} | changes))
    metrics = Metrics().for_model("tiny", "1", "cpu")
    return Batcher(pool, options, setup.queue_limits(manifest, config), Statistics(), metrics)


def sequence(*words: int) -> TokenSequence:
    return TokenSequence(np.array(words, np.int64), np.arange(len(words), dtype=np.int64))


async def hold(one: Batcher[TokenSequence], num_slow: int = 4) -> asyncio.Task[Any]:
    """Keep the only thread busy for a while."""
    task = asyncio.create_task(one.submit([sequence(*[SLOW] * num_slow)], math.inf))
    await asyncio.sleep(0)
    assert not one.queue.num_requests
    return task


async def test_higher_priority_overtakes(bundle_path: Path, pool: SessionPool) -> None:
    one = batcher(bundle_path, pool)
    holding = await hold(one)
    order: list[int] = []

    async def ask(priority: int) -> None:
        await one.submit([sequence(WORD)], math.inf, priority=priority)
        order.append(priority)

    await asyncio.gather(*(ask(priority) for priority in (3, 2, 0, 1)), holding)
    assert order == [1, 2, 0, 3]  # 0 is the middle level, 2, and came after it


async def test_earliest_deadline_goes_first(bundle_path: Path, pool: SessionPool) -> None:
    one = batcher(bundle_path, pool, predict=False)
    holding = await hold(one)
    order: list[float] = []

    async def ask(lifetime: float) -> None:
        await one.submit([sequence(WORD)], monotonic() + lifetime)
        order.append(lifetime)

    await asyncio.gather(*(ask(lifetime) for lifetime in (9.0, LONG_S, 8.0)), holding)
    assert order == [8.0, 9.0, LONG_S]


async def test_unknown_priority_is_refused(bundle_path: Path, pool: SessionPool) -> None:
    one = batcher(bundle_path, pool)
    with pytest.raises(InvalidRequest, match="use 1 to 3"):
        await one.submit([sequence(WORD)], math.inf, priority=4)


async def test_hopeless_deadline_is_refused_at_once(bundle_path: Path, pool: SessionPool) -> None:
    one = batcher(bundle_path, pool)
    await one.submit([sequence(SLOW)], math.inf)  # shows what a token costs
    holding = await hold(one)
    waiting = [asyncio.create_task(one.submit([sequence(SLOW)], math.inf)) for _ in range(20)]
    await asyncio.sleep(0)
    with pytest.raises(PredictedLate) as refused:
        await one.submit([sequence(WORD)], monotonic() + 0.01)
    assert refused.value.retry_after_s > 0
    assert one.queue.num_requests == 20
    with pytest.raises(PredictedLate):
        one.require_hope(monotonic() + 0.01)
    one.require_hope(monotonic() + LONG_S)
    for task in [*waiting, holding]:
        task.cancel()


async def test_request_expires_while_it_waits(bundle_path: Path, pool: SessionPool) -> None:
    one = batcher(bundle_path, pool, predict=False)
    holding = await hold(one, 8)
    with pytest.raises(DeadlineExpired):
        await one.submit([sequence(WORD)], monotonic() + 0.01)
    assert not one.queue.num_requests
    assert not holding.done()
    await holding
    assert one.statistics.num_runs == 1


async def test_run_that_nobody_waits_for_is_ended(bundle_path: Path, pool: SessionPool) -> None:
    one = batcher(bundle_path, pool, budget=10_000)
    hopeless = [sequence(*[SLOW] * 30) for _ in range(200)]  # minutes of work
    holding = asyncio.create_task(one.submit(hopeless, math.inf))
    used_s = process_time()
    # What burns it is the run, so ONNX Runtime is inside.
    await asyncio.to_thread(until, lambda: process_time() - used_s > 0.05)
    holding.cancel()
    with suppress(asyncio.CancelledError):
        await holding
    async with asyncio.timeout(10):
        await one.submit([sequence(WORD)], math.inf)
    assert one.is_idle


async def test_held_back_run_starts_before_its_caller_expires(
    bundle_path: Path, pool: SessionPool
) -> None:
    one = batcher(bundle_path, pool, budget=4, max_delay_s=30.0)
    request = await one.submit([sequence(WORD)], monotonic() + 1.0)
    assert request.queue_s < 1.0


async def test_thread_that_may_not_be_placed_still_runs(bundle_path: Path) -> None:
    session = Session(bundle_path / "model.onnx", SessionConfig())
    pool = SessionPool([session], 1, cores=[10_000])  # no such core
    one = batcher(bundle_path, pool)
    async with asyncio.timeout(10):
        await one.submit([sequence(WORD)], math.inf)
    pool.close()


async def test_run_goes_on_while_somebody_waits(bundle_path: Path, pool: SessionPool) -> None:
    one = batcher(bundle_path, pool, budget=256)
    holding = await hold(one)
    leaving, staying = (
        asyncio.create_task(one.submit([sequence(WORD, SLOW)], math.inf)) for _ in range(2)
    )
    await holding
    leaving.cancel()
    assert len((await staying).answers()) == 1


async def test_poison_fails_alone_and_its_mates_are_bit_equal(
    bundle_path: Path, pool: SessionPool
) -> None:
    one = batcher(bundle_path, pool, budget=256)
    good = [sequence(*range(8, 8 + length)) for length in range(1, 13)]
    alone = [(await one.submit([unit], math.inf)).answers()[0][0] for unit in good]
    holding = await hold(one)
    units = [*good[:5], sequence(WORD, bundles.POISON_ID), *good[5:]]
    asked: list[Waiting[TokenSequence]] = await asyncio.gather(
        *(one.submit([unit], math.inf) for unit in units)
    )
    await holding
    with pytest.raises(RunFailed):
        asked[5].answers()
    del asked[5]
    for expected, request in zip(alone, asked, strict=True):
        np.testing.assert_array_equal(request.answers()[0][0], expected)


async def test_idle_thread_waits_for_a_fuller_run(bundle_path: Path, pool: SessionPool) -> None:
    one = batcher(bundle_path, pool, budget=4, max_delay_s=30.0)
    async with asyncio.timeout(10):  # the fourth token fills the run, long before the delay
        await asyncio.gather(*(one.submit([sequence(WORD)], math.inf) for _ in range(4)))
    assert one.statistics.num_runs == 1


async def test_held_back_run_starts_when_the_delay_is_over(
    bundle_path: Path, pool: SessionPool
) -> None:
    one = batcher(bundle_path, pool, budget=4, max_delay_s=0.01)
    request = await one.submit([sequence(WORD)], math.inf)
    assert request.queue_s >= 0.009


def test_stopped_run_says_so(bundle_path: Path) -> None:
    session = Session(bundle_path / "model.onnx", SessionConfig())
    stop = Stop()
    stop.now()
    ids = np.full((1, 4), WORD, np.int64)
    feeds = {"input_ids": ids, "segment_ids": np.ones_like(ids), "position_ids": ids * 0}
    with pytest.raises(Cancelled):
        session.run(feeds, stop=stop)
    assert session.run(feeds)[0].shape == (1, bundles.HIDDEN)
    session.close()


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities on Linux only")
async def test_run_threads_give_way_to_the_others(bundle_path: Path) -> None:
    session = Session(bundle_path / "model.onnx", SessionConfig())
    pool = SessionPool([session], 1, niceness=7)
    told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    pool.start(lambda _: os.getpriority(os.PRIO_PROCESS, get_native_id()), told.set_result)
    assert await told == 7
    assert os.getpriority(os.PRIO_PROCESS, get_native_id()) == 0
    pool.close()
