"""The batching loop of one model: wait, plan, run, scatter, answer.

Lives on the event loop and owns the queue; only `_execute` runs on a dispatch thread. The next
batch forms while this one runs, and it starts before the answers of this one go out.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Generic

from server.batching.cost import Cost
from server.batching.layout import Layout, U
from server.batching.plan import Plan
from server.batching.request_queue import Outcome, QueueLimits, Taken, Waiting
from server.batching.scheduler import Scheduler
from server.batching.statistics import RunTimes, Statistics
from server.errors import (
    Cancelled,
    DeadlineExpired,
    RunFailed,
)
from server.metrics import ModelMetrics
from server.runtime.pool import SessionPool
from server.runtime.session import Session, Stop

log = logging.getLogger(__name__)

OnSubmit = Callable[[Sequence[int], int, float], None]
"""(sizes of the units, level of priority, deadline) of every request, for a recording."""


@dataclass(frozen=True, slots=True)
class BatchOptions(Generic[U]):
    """How one model is batched."""

    layout: Layout[U]
    budget: int
    """Size of the units that one run should hold: tokens, or rows of tensors."""
    cost: Cost
    max_delay_s: float = 0.0
    """How long an idle thread waits for a fuller run."""
    num_levels: int = 1
    """Levels of priority."""
    ageing_s: float = 0.0
    """A request rises a level each time it has waited so long; 0 turns this off."""
    predict: bool = True
    """Refuse what could not be answered before its deadline."""


@dataclass(frozen=True, slots=True)
class Execution:
    """What came out of one run."""

    outcomes: list[Outcome]
    times: RunTimes
    ended: bool = False
    """Before it was through, because nobody waited any more."""


@dataclass(slots=True, eq=False)
class Run(Generic[U]):
    """One run under way."""

    batch: list[Taken[U]]
    plan: Plan
    stop: Stop
    predicted_s: float
    waited_for: set[Waiting[U]]
    """Requests whose callers are still there."""


class Batcher(Generic[U]):
    """Runs units of many requests together and gives each request its own results."""

    def __init__(
        self,
        pool: SessionPool,
        options: BatchOptions[U],
        limits: QueueLimits,
        statistics: Statistics,
        metrics: ModelMetrics,
        *,
        on_submit: OnSubmit | None = None,
    ) -> None:
        self.statistics = statistics
        self.options = options
        self._pool = pool
        self._layout = options.layout
        self._metrics = metrics
        self._on_submit = on_submit
        self._running: dict[int, Run[U]] = {}
        self._scheduler: Scheduler[U] = Scheduler(
            options.layout.plan, options, limits, pool.num_threads
        )
        self.queue = self._scheduler.queue
        self._delayed: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits or runs."""
        return not self.queue.num_requests and not self._running

    def require_hope(self, deadline: float, priority: int = 0) -> None:
        """Refuse a request that would expire in the queue, before anything is done for it.

        Raises:
            PredictedLate: the wait alone is predicted to pass the deadline.
        """
        scheduler = self._scheduler
        level = scheduler.level(priority)
        scheduler.require_time(0, deadline, level, monotonic(), self._pool.num_idle)

    async def submit(self, units: Sequence[U], deadline: float, *, priority: int = 0) -> Waiting[U]:
        """Run every unit and return the request with an outcome for each; see `answers`.

        A cancelled caller leaves the queue at once. Units already running are dropped when they
        finish, and the rest of their batch is answered as if nothing had happened; a run that
        nobody waits for any more is ended.

        Raises:
            InvalidRequest: no such level of priority, or more than may ever wait.
            QueueFull: the queue is full. Nothing was started.
            PredictedLate: the answer is predicted to come after the deadline. Nothing was started.
            DeadlineExpired: `deadline` (monotonic clock) passed first.
        """
        loop, now = asyncio.get_running_loop(), monotonic()
        level = self._scheduler.level(priority)
        request = Waiting(units, deadline, now, loop.create_future(), level)
        if self._on_submit is not None:
            self._on_submit(request.sizes, request.priority, deadline)
        self._scheduler.admit(request, now, self._pool.num_idle)
        timer = None
        try:
            self._dispatch()
            if math.isfinite(deadline):
                timer = loop.call_at(deadline, _expire, request)
            await request.done
        finally:
            if timer is not None:
                timer.cancel()
            if request.num_unanswered:
                self._abandon(request)
        return request

    def _abandon(self, request: Waiting[U]) -> None:
        """Forget a request whose caller is gone, and end runs that have no other."""
        self.queue.discard(request)
        for run in self._running.values():
            if request in run.waited_for:
                run.waited_for.discard(request)
                if not run.waited_for:
                    run.stop.now()

    def _dispatch(self) -> None:
        """Start runs until no thread is idle or nobody waits."""
        while self._pool.num_idle and self.queue.num_requests:
            now = monotonic()
            hold_s = self._scheduler.hold_s(now)
            if hold_s:
                self._hold_back(hold_s)
                return
            found = self._scheduler.next_run(now, self._pool.num_idle)
            if found is None:
                return
            self._start(*found, now)

    def _hold_back(self, hold_s: float) -> None:
        """See to it that waiting for a fuller run ends."""
        if self._delayed is None:
            self._delayed = asyncio.get_running_loop().call_later(hold_s, self._stop_holding_back)

    def _stop_holding_back(self) -> None:
        self._delayed = None
        self._dispatch()

    def _start(self, batch: list[Taken[U]], plan: Plan, now: float) -> None:
        for item in batch:
            request = item.request
            request.queue_s = now - request.enqueued
            self._metrics.stages["queue"].observe(request.queue_s)
            self.statistics.queue.add(request.queue_s)
            if request.deadline != math.inf:
                self._metrics.deadline_remaining.observe(request.deadline - now)
        run = Run(
            batch,
            plan,
            Stop(),
            self.options.cost.run(len(plan.rows), plan.width, len(batch)),
            {item.request for item in batch},
        )
        self._running[id(run)] = run
        self._scheduler.predictor.start(id(run), run.predicted_s, now)
        units = [item.unit for item in batch]
        self._pool.start(partial(self._execute, units, plan, run.stop), partial(self._finish, run))

    def _execute(self, units: Sequence[U], plan: Plan, stop: Stop, session: Session) -> Execution:
        """Run one batch on a dispatch thread; take it apart where it fails."""
        started = monotonic()
        feeds = self._layout.pack(units, plan)
        packed = monotonic()
        try:
            arrays = session.run(feeds, self._layout.output_names, stop)
        except Cancelled as error:
            times = RunTimes(packed - started, monotonic() - packed, 0.0)
            return Execution([error] * len(units), times, ended=True)
        except RunFailed as error:
            if len(units) == 1:
                return Execution([error], RunTimes(packed - started, monotonic() - packed, 0.0))
            return self._execute_each(units, stop, session)
        ran = monotonic()
        outcomes: list[Outcome] = [*self._layout.scatter(arrays, units, plan)]
        return Execution(outcomes, RunTimes(packed - started, ran - packed, monotonic() - ran))

    def _execute_each(self, units: Sequence[U], stop: Stop, session: Session) -> Execution:
        """Run every unit by itself, so that only the poisonous one fails.

        Its mates get, to the bit, what they would get alone. Halving would not give them that, and
        costs as much: sixteen texts of a full run are 16 short runs here, and the whole run again,
        then half of it, and so on there.
        """
        each = [self._execute([unit], _alone(unit), stop, session) for unit in units]
        times = [one.times for one in each]
        return Execution(
            [outcome for one in each for outcome in one.outcomes],
            RunTimes(
                sum(one.pack_s for one in times),
                sum(one.run_s for one in times),
                sum(one.scatter_s for one in times),
            ),
            ended=any(one.ended for one in each),
        )

    def _finish(self, run: Run[U], result: Execution | Exception) -> None:
        del self._running[id(run)]
        sizes = [item.size for item in run.batch]
        if isinstance(result, Exception):
            log.error("a batch was lost", exc_info=result)
            failed = RunFailed("the run failed inside the server; see its log")
            result = Execution([failed] * len(sizes), RunTimes(0.0, 0.0, 0.0))
        # A run that failed took what it took until then, or what its units took one by one.
        is_sound = not any(isinstance(outcome, RunFailed) for outcome in result.outcomes)
        predicted_s = run.predicted_s if is_sound else 0.0
        self._scheduler.predictor.finish(
            id(run), predicted_s, result.times.run_s, ended=result.ended
        )
        try:
            # The thread is free again: feed it before anything else.
            self._dispatch()
        finally:
            self._answer(run, result, sizes, predicted_s)

    def _answer(
        self, run: Run[U], result: Execution, sizes: Sequence[int], predicted_s: float
    ) -> None:
        run_s = result.times.run_s
        if not result.ended:
            self.statistics.observe_run(len(sizes), result.times)
            self._metrics.observe_run(sizes, run.plan.padded_tokens, run_s, predicted_s)
        for item, outcome in zip(run.batch, result.outcomes, strict=True):
            if isinstance(outcome, RunFailed):
                self._metrics.run_failures.inc()
            _settle(item, outcome, run_s, sizes)


def _expire(request: Waiting[U]) -> None:
    if not request.done.done():
        request.done.set_exception(
            DeadlineExpired(
                "the deadline passed before the answer was ready; allow more time or send less"
            )
        )


def _settle(item: Taken[U], outcome: Outcome, run_s: float, sizes: Sequence[int]) -> None:
    """Hand one unit its outcome, and wake the caller with the last one."""
    request = item.request
    request.outcomes[item.index] = outcome
    request.num_unanswered -= 1
    if run_s >= request.run_s:
        request.run_s = run_s
        request.batch_units = len(sizes)
        request.batch_size = sum(sizes)
    # The caller may have given up while this ran; its place in the batch is simply unused.
    if not request.num_unanswered and not request.done.done():
        request.done.set_result(None)


def _alone(unit: Sized) -> Plan:
    return Plan(rows=((0,),), width=len(unit))
