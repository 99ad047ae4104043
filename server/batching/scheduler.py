"""Who is let in, who runs next and when: every decision of the batcher, on a clock that is passed.

Pure: the batcher asks on a real clock, a replay on a virtual one. Single owner.
"""

import math
from collections.abc import Callable, Sequence
from typing import Generic, Protocol

from server.batching.cost import Cost
from server.batching.layout import U
from server.batching.plan import Plan
from server.batching.predict import MARGIN, Predictor
from server.batching.request_queue import QueueLimits, RequestQueue, Taken, Waiting
from server.errors import InvalidRequest, Overloaded, PredictedLate

WINDOW_BUDGETS = 3
"""The planner sees this many runs' worth of what waits, to find units that go well together."""
TYPICAL_TOKENS = 64
"""Length of the sequences that a queue is taken to hold, until runs have shown better."""
INSTANT_S = 1e-9
"""Less than this is no time: sums of floats miss the moment that they mean."""


class Policy(Protocol):
    """How one model is served."""

    @property
    def budget(self) -> int:
        """Size of the units that one run should hold: tokens, or rows of tensors."""

    @property
    def cost(self) -> Cost:
        """What a run is predicted to take."""

    @property
    def max_delay_s(self) -> float:
        """How long an idle thread waits for a fuller run."""

    @property
    def num_levels(self) -> int:
        """Levels of priority."""

    @property
    def ageing_s(self) -> float:
        """A request rises a level each time it has waited so long; 0 turns this off."""

    @property
    def predict(self) -> bool:
        """Refuse what could not be answered before its deadline."""


class Scheduler(Generic[U]):
    """The queue of one model and what is known about its runs."""

    def __init__(
        self,
        plan: Callable[[Sequence[U], int], Plan],
        policy: Policy,
        limits: QueueLimits,
        num_threads: int,
    ) -> None:
        self.queue: RequestQueue[U] = RequestQueue(limits, policy.ageing_s)
        self._plan = plan
        self._policy = policy
        typical = 1 if limits.measure == "rows" else TYPICAL_TOKENS
        num_units = max(1, policy.budget // typical)
        size_s = policy.cost.run(num_units, typical, num_units) / policy.budget
        self.predictor = Predictor(size_s, num_threads, policy.budget)

    def level(self, priority: int) -> int:
        """Return the level of a caller's priority.

        Raises:
            InvalidRequest: there is no such level.
        """
        levels = self._policy.num_levels
        if not 0 <= priority <= levels:
            raise InvalidRequest(f"priority is {priority}; use 1 to {levels}, or 0 for the middle")
        return priority or (levels + 1) // 2

    def require_time(
        self, size: int, deadline: float, level: int, now: float, num_idle: int
    ) -> None:
        """Refuse a request of this size that would expire before its answer.

        Raises:
            PredictedLate: it would, as far as can be known.
        """
        if not self._policy.predict or deadline == math.inf:
            return
        before = self.queue.size_before(deadline, level, now)
        if not before and num_idle:
            return  # it runs at once; if that is not enough, the deadline says so
        answer_s = self.predictor.answer_s(size, before, now)
        if now + answer_s > deadline:
            raise PredictedLate(
                f"the answer is predicted in {answer_s * 1000:.0f} ms, the deadline is in "
                f"{max(0.0, deadline - now) * 1000:.0f} ms; allow more time or send less",
                max(0.0, now + answer_s - deadline),
            )

    def admit(self, request: Waiting[U], now: float, num_idle: int) -> None:
        """Let a request wait.

        Raises:
            InvalidRequest: no queue of this size could ever hold it.
            QueueFull: it does not fit now.
            PredictedLate: it would expire before its answer.
        """
        self.require_time(request.open_size, request.deadline, request.priority, now, num_idle)
        try:
            self.queue.put(request)
        except Overloaded as error:
            error.retry_after_s = self.predictor.wait_s(self.queue.size, now)
            raise

    def hold_s(self, now: float) -> float:
        """Return how long an idle thread should still wait for a fuller run; 0 is not at all."""
        if not self._policy.max_delay_s or self.queue.size >= self._policy.budget:
            return 0.0
        left_s = self._policy.max_delay_s - self.queue.oldest_age_s(now)
        # Nobody is held back until there is no time left to be run.
        run_s = MARGIN * self.predictor.run_s(self._policy.budget)
        left_s = min(left_s, self.queue.earliest_deadline() - run_s - now)
        return left_s if left_s > INSTANT_S else 0.0

    def next_run(self, now: float, num_idle: int) -> tuple[list[Taken[U]], Plan] | None:
        """Take the units of the next run; None where only expired ones wait.

        Each idle thread gets an equal part of a queue that is too short for full runs. While others
        wait, none is run that would expire before its answer.
        """
        budget = min(self._policy.budget, -(-self.queue.size // num_idle))
        size = budget * WINDOW_BUDGETS
        units = self.queue.window(size, now + self.predictor.run_s(budget))
        if not units:
            units = self.queue.window(size, now)
        if not units:
            return None
        plan = self._plan(units, budget)
        return self.queue.take(plan.chosen), plan.renumbered()
