"""The batching loop of one model: wait, plan, run, scatter, answer.

Lives on the event loop and owns the queue; only `_execute` runs on a dispatch thread. The next
batch forms while this one runs, and it starts before the answers of this one go out.
"""

import asyncio
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Generic

from server.batching.layout import Layout, U
from server.batching.plan import Plan
from server.batching.request_queue import Outcome, QueueLimits, RequestQueue, Taken, Waiting
from server.batching.statistics import RunTimes, Statistics
from server.errors import DeadlineExpired, RunFailed, ServeError
from server.metrics import ModelMetrics
from server.runtime.pool import SessionPool
from server.runtime.session import Session

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchOptions(Generic[U]):
    """How one model is batched."""

    layout: Layout[U]
    budget: int
    """Size of the units that one run should hold: tokens, or rows of tensors."""


@dataclass(frozen=True, slots=True)
class Execution:
    """What came out of one run."""

    outcomes: list[Outcome]
    times: RunTimes


class Batcher(Generic[U]):
    """Runs units of many requests together and gives each request its own results."""

    def __init__(
        self,
        pool: SessionPool,
        options: BatchOptions[U],
        limits: QueueLimits,
        statistics: Statistics,
        metrics: ModelMetrics,
    ) -> None:
        self.queue: RequestQueue[U] = RequestQueue(limits)
        self.statistics = statistics
        self._pool = pool
        self._layout = options.layout
        self._budget = options.budget
        self._metrics = metrics

    async def submit(self, units: Sequence[U], deadline: float) -> Waiting[U]:
        """Run every unit and return the request with an outcome for each; see `answers`.

        A cancelled caller leaves the queue at once; units already running are dropped when they
        finish, and the rest of their batch is answered as if nothing had happened.

        Raises:
            QueueFull: the queue is full. Nothing was started.
            DeadlineExpired: `deadline` (monotonic clock) passed first.
        """
        loop = asyncio.get_running_loop()
        request = Waiting(units, deadline, monotonic(), loop.create_future())
        self.queue.put(request)
        self._dispatch()
        try:
            async with asyncio.timeout_at(deadline if math.isfinite(deadline) else None):
                await request.done
        except TimeoutError:
            raise DeadlineExpired(
                "the deadline passed before the answer was ready; allow more time or send less"
            ) from None
        finally:
            self.queue.discard(request)
        return request

    def _dispatch(self) -> None:
        """Start runs until no thread is idle or nobody waits."""
        while self._pool.num_idle and self.queue.num_requests:
            now = monotonic()
            budget = self._share()
            units = self.queue.peek(budget, now)
            if not units:
                return
            plan = self._layout.plan(units, budget)
            batch = self.queue.take(plan.num_units, now)
            for item in batch:
                item.request.queue_s = now - item.request.enqueued
                self._metrics.stages["queue"].observe(item.request.queue_s)
                self.statistics.queue.add(item.request.queue_s)
                if math.isfinite(item.request.deadline):
                    self._metrics.deadline_remaining.observe(item.request.deadline - now)
            self._start(batch, plan)

    def _share(self) -> int:
        """Return the budget of the next run: an equal part of the queue for each idle thread."""
        return min(self._budget, -(-self.queue.size // self._pool.num_idle))

    def _start(self, batch: list[Taken[U]], plan: Plan) -> None:
        units = [item.unit for item in batch]
        future = self._pool.start(partial(self._execute, units, plan))
        future.add_done_callback(partial(self._finish, batch, plan))

    def _execute(self, units: Sequence[U], plan: Plan, session: Session) -> Execution:
        """Run one batch on a dispatch thread; split it in halves where it fails."""
        started = monotonic()
        feeds = self._layout.pack(units, plan)
        packed = monotonic()
        try:
            arrays = session.run(feeds, self._layout.output_names)
        except RunFailed as error:
            if len(units) == 1:
                return Execution([error], RunTimes(packed - started, monotonic() - packed, 0.0))
            return self._execute_halves(units, session)
        ran = monotonic()
        outcomes: list[Outcome] = [*self._layout.scatter(arrays, units, plan)]
        return Execution(outcomes, RunTimes(packed - started, ran - packed, monotonic() - ran))

    def _execute_halves(self, units: Sequence[U], session: Session) -> Execution:
        """Run both halves by themselves, so that in the end only the poisonous unit fails."""
        middle = len(units) // 2
        halves = [
            self._execute(half, _one_per_row(half), session)
            for half in (units[:middle], units[middle:])
        ]
        first, second = (half.times for half in halves)
        return Execution(
            [*halves[0].outcomes, *halves[1].outcomes],
            RunTimes(
                first.pack_s + second.pack_s,
                first.run_s + second.run_s,
                first.scatter_s + second.scatter_s,
            ),
        )

    def _finish(self, batch: list[Taken[U]], plan: Plan, future: asyncio.Future[Execution]) -> None:
        # The thread is free again: feed it before anything else.
        self._dispatch()
        error = future.exception()
        if error is not None:
            log.error("a batch was lost", exc_info=error)
            failed = RunFailed("the run failed inside the server; see its log")
            execution = Execution([failed] * len(batch), RunTimes(0.0, 0.0, 0.0))
        else:
            execution = future.result()
        sizes = [len(item.unit) for item in batch]
        self.statistics.observe_run(len(batch), execution.times)
        self._metrics.observe_run(sizes, plan.padded_tokens, execution.times.run_s)
        for item, outcome in zip(batch, execution.outcomes, strict=True):
            if isinstance(outcome, ServeError):
                self._metrics.run_failures.inc()
            _settle(item, outcome, execution.times.run_s, sizes)


def _settle(item: Taken[U], outcome: Outcome, run_s: float, sizes: Sequence[int]) -> None:
    """Hand one unit its outcome, and wake the caller with the last one."""
    request = item.request
    request.outcomes[item.index] = outcome
    request.num_open -= 1
    if run_s >= request.run_s:
        request.run_s = run_s
        request.batch_units = len(sizes)
        request.batch_size = sum(sizes)
    # The caller may have given up while this ran; its place in the batch is simply unused.
    if not request.num_open and not request.done.done():
        request.done.set_result(None)


def _one_per_row(units: Sequence[U]) -> Plan:
    rows = tuple((index,) for index in range(len(units)))
    return Plan(rows=rows, width=max(len(unit) for unit in units))
