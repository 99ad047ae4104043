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

from server.batching.packing import TokenSequence, answer_order, pack
from server.batching.plan import Plan, Planner
from server.batching.request_queue import Outcome, QueueLimits, RequestQueue, Taken, Waiting
from server.batching.statistics import RunTimes, Statistics
from server.errors import DeadlineExpired, RunFailed, ServeError
from server.metrics import ModelMetrics
from server.runtime.pool import SessionPool
from server.runtime.session import Session

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How one model is batched."""

    planner: Planner
    max_batch_tokens: int
    min_row_tokens: int
    pad_id: int
    output: str
    """Graph output with one vector per segment."""


@dataclass(frozen=True, slots=True)
class Execution:
    """What came out of one run."""

    outcomes: list[Outcome]
    times: RunTimes


class Batcher:
    """Runs sequences of many requests together and gives each request its own results."""

    def __init__(
        self,
        pool: SessionPool,
        options: BatchOptions,
        limits: QueueLimits,
        statistics: Statistics,
        metrics: ModelMetrics,
    ) -> None:
        self.queue = RequestQueue(limits)
        self.statistics = statistics
        self._pool = pool
        self._options = options
        self._metrics = metrics

    async def submit(self, sequences: Sequence[TokenSequence], deadline: float) -> Waiting:
        """Run every sequence and return the request with an outcome for each; see `vectors`.

        A cancelled caller leaves the queue at once; sequences already running are dropped when
        they finish, and the rest of their batch is answered as if nothing had happened.

        Raises:
            QueueFull: the queue is full. Nothing was started.
            DeadlineExpired: `deadline` (monotonic clock) passed first.
        """
        loop = asyncio.get_running_loop()
        request = Waiting(sequences, deadline, monotonic(), loop.create_future())
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
            lengths = self.queue.peek_lengths(budget, now)
            if not lengths:
                return
            plan = self._options.planner(lengths, budget)
            batch = self.queue.take(plan.num_sequences, now)
            for item in batch:
                item.request.queue_s = now - item.request.enqueued
                self._metrics.stages["queue"].observe(item.request.queue_s)
                self.statistics.queue.add(item.request.queue_s)
                if math.isfinite(item.request.deadline):
                    self._metrics.deadline_remaining.observe(item.request.deadline - now)
            self._start(batch, plan)

    def _share(self) -> int:
        """Return the token budget of the next run: an equal part for each idle thread."""
        return min(self._options.max_batch_tokens, -(-self.queue.num_tokens // self._pool.num_idle))

    def _start(self, batch: list[Taken], plan: Plan) -> None:
        sequences = [item.sequence for item in batch]
        future = self._pool.start(partial(self._execute, sequences, plan))
        future.add_done_callback(partial(self._finish, batch, plan))

    def _execute(
        self, sequences: Sequence[TokenSequence], plan: Plan, session: Session
    ) -> Execution:
        """Run one batch on a dispatch thread; split it in halves where it fails."""
        started = monotonic()
        feeds = pack(sequences, plan, self._options.pad_id)
        packed = monotonic()
        try:
            (vectors,) = session.run(feeds, (self._options.output,))
        except RunFailed as error:
            if len(sequences) == 1:
                return Execution([error], RunTimes(packed - started, monotonic() - packed, 0.0))
            return self._execute_halves(sequences, session)
        ran = monotonic()
        by_index = dict(zip(answer_order(plan), vectors, strict=True))
        outcomes: list[Outcome] = [by_index[index] for index in range(len(sequences))]
        return Execution(outcomes, RunTimes(packed - started, ran - packed, monotonic() - ran))

    def _execute_halves(self, sequences: Sequence[TokenSequence], session: Session) -> Execution:
        """Run both halves by themselves, so that in the end only the poisonous sequence fails."""
        middle = len(sequences) // 2
        halves = [
            self._execute(half, _one_per_row(half), session)
            for half in (sequences[:middle], sequences[middle:])
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

    def _finish(self, batch: list[Taken], plan: Plan, future: asyncio.Future[Execution]) -> None:
        # The thread is free again: feed it before anything else.
        self._dispatch()
        error = future.exception()
        if error is not None:
            log.error("a batch was lost", exc_info=error)
            failed = RunFailed("the run failed inside the server; see its log")
            execution = Execution([failed] * len(batch), RunTimes(0.0, 0.0, 0.0))
        else:
            execution = future.result()
        lengths = [len(item.sequence) for item in batch]
        self.statistics.observe_run(len(batch), execution.times)
        self._metrics.observe_run(lengths, plan.padded_tokens, execution.times.run_s)
        for item, outcome in zip(batch, execution.outcomes, strict=True):
            if isinstance(outcome, ServeError):
                self._metrics.run_failures.inc()
            _settle(item, outcome, execution.times.run_s, lengths)


def _settle(item: Taken, outcome: Outcome, run_s: float, lengths: Sequence[int]) -> None:
    """Hand one sequence its outcome, and wake the caller with the last one."""
    request = item.request
    request.outcomes[item.index] = outcome
    request.num_open -= 1
    if run_s >= request.run_s:
        request.run_s = run_s
        request.batch_sequences = len(lengths)
        request.batch_tokens = sum(lengths)
    # The caller may have given up while this ran; its place in the batch is simply unused.
    if not request.num_open and not request.done.done():
        request.done.set_result(None)


def _one_per_row(sequences: Sequence[TokenSequence]) -> Plan:
    rows = tuple((index,) for index in range(len(sequences)))
    return Plan(rows=rows, width=max(len(sequence) for sequence in sequences))
