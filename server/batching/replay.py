"""What the batcher would do with requests, on a clock that only jumps from event to event.

Pure and deterministic: the batcher's own scheduler, and runs that take exactly what they cost.
"""

import asyncio
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Literal

from server.batching.arrivals import Arrival
from server.batching.cost import Cost
from server.batching.plan import Plan, Planner
from server.batching.request_queue import QueueLimits, Taken, Waiting
from server.batching.scheduler import Scheduler
from server.errors import InvalidRequest, PredictedLate, QueueFull

# At one moment, runs end first, as an answer that is there in time is in time.
ENDS, EXPIRES, ARRIVES, WAITED = range(4)
Fate = Literal["waiting", "served", "expired", "queue_full", "predicted_late", "too_large"]


@dataclass(frozen=True, slots=True)
class Service:
    """One way to serve a model."""

    name: str
    planner: Planner
    budget: int
    """Tokens that one run should hold."""
    cost: Cost
    limits: QueueLimits
    num_threads: int
    max_delay_s: float = 0.0
    num_levels: int = 1
    ageing_s: float = 0.0
    predict: bool = False
    by_arrival: bool = False
    """First come first served, whatever priority and deadline."""


@dataclass(frozen=True, slots=True)
class Length:
    """A sequence of which only the length is known."""

    tokens: int

    def __len__(self) -> int:
        return self.tokens


@dataclass(slots=True, eq=False)
class Job:
    """A request and what became of it."""

    arrival: Arrival
    deadline: float
    request: Waiting[Length]
    fate: Fate = "waiting"
    ended_s: float = math.inf
    num_open: int = field(init=False)

    def __post_init__(self) -> None:
        self.num_open = len(self.arrival.lengths)

    @property
    def delay_s(self) -> float:
        """From arrival to answer."""
        return self.ended_s - self.arrival.arrived_s


@dataclass(slots=True, eq=False)
class Run:
    """One run and the time that it kept a thread busy."""

    batch: list[Taken[Length]]
    plan: Plan
    started_s: float
    cost_s: float
    ended_s: float = math.inf
    waited_for: set[int] = field(default_factory=set)
    """Identities of the requests whose callers are still there."""

    @property
    def busy_s(self) -> float:
        """Less than the cost where everyone who waited for it gave up."""
        return self.ended_s - self.started_s


@dataclass(frozen=True, slots=True)
class Played:
    """Everything that happened."""

    jobs: list[Job]
    runs: list[Run]


def replay(arrivals: Iterable[Arrival], service: Service) -> Played:
    """Serve requests in order of arrival until each has its fate."""
    player = _Player(service)
    for arrival in arrivals:
        player.expect(arrival)
    player.play()
    return Played(player.jobs, player.runs)


class _Player:
    """The state of one replay."""

    def __init__(self, service: Service) -> None:
        self.jobs: list[Job] = []
        self.runs: list[Run] = []
        self._service = service
        self._scheduler: Scheduler[Length] = Scheduler(
            lambda units, budget: service.planner([unit.tokens for unit in units], budget),
            service,
            service.limits,
            service.num_threads,
        )
        self._by_request: dict[int, Job] = {}
        self._num_idle = service.num_threads
        self._running: list[Run] = []
        self._is_held_back = False
        self._events: list[tuple[float, int, int, Callable[[], None]]] = []
        self._order = count()
        self._now = 0.0
        loop = asyncio.new_event_loop()
        self._nobody = loop.create_future()  # a request wants one; nobody here waits for it
        loop.close()

    def expect(self, arrival: Arrival) -> None:
        """Let a request come at its time."""
        service, start_s = self._service, arrival.arrived_s
        deadline = math.inf if arrival.deadline_s is None else start_s + arrival.deadline_s
        units = [Length(length) for length in arrival.lengths]
        if service.by_arrival:
            request = Waiting(units, math.inf, start_s, self._nobody)
        else:
            level = min(arrival.priority, service.num_levels)
            request = Waiting(units, deadline, start_s, self._nobody, level)
        job = Job(arrival, deadline, request)
        self.jobs.append(job)
        self._at(start_s, ARRIVES, lambda: self._arrive(job))

    def play(self) -> None:
        """Let everything happen."""
        while self._events:
            self._now, _, _, happen = heappop(self._events)
            happen()
            self._dispatch()

    def _at(self, moment: float, rank: int, happen: Callable[[], None]) -> None:
        heappush(self._events, (moment, rank, next(self._order), happen))

    def _arrive(self, job: Job) -> None:
        try:
            self._scheduler.admit(job.request, self._now, self._num_idle)
        except PredictedLate:
            self._end(job, "predicted_late")
        except QueueFull:
            self._end(job, "queue_full")
        except InvalidRequest:
            self._end(job, "too_large")
        else:
            self._by_request[id(job.request)] = job
            if job.deadline < math.inf:
                self._at(job.deadline, EXPIRES, lambda: self._expire(job))

    def _expire(self, job: Job) -> None:
        if job.fate != "waiting":
            return
        self._end(job, "expired")
        self._scheduler.queue.discard(job.request)
        for run in [*self._running]:
            run.waited_for.discard(id(job.request))
            if not run.waited_for:
                self._finish(run)

    def _end(self, job: Job, fate: Fate) -> None:
        job.fate, job.ended_s = fate, self._now

    def _dispatch(self) -> None:
        scheduler = self._scheduler
        while self._num_idle and scheduler.queue.num_requests:
            hold_s = scheduler.hold_s(self._now)
            if hold_s:
                self._hold_back(hold_s)
                return
            run = scheduler.next_run(self._now, self._num_idle)
            if run is None:
                return
            self._start(*run)

    def _hold_back(self, hold_s: float) -> None:
        if not self._is_held_back:
            self._is_held_back = True
            self._at(self._now + hold_s, WAITED, self._stop_holding_back)

    def _stop_holding_back(self) -> None:
        self._is_held_back = False

    def _start(self, batch: list[Taken[Length]], plan: Plan) -> None:
        cost_s = self._service.cost.run(len(plan.rows), plan.width, len(batch))
        requests = {id(item.request) for item in batch}
        run = Run(batch, plan, self._now, cost_s, waited_for=requests)
        self.runs.append(run)
        self._running.append(run)
        self._num_idle -= 1
        self._scheduler.predictor.start(id(run), cost_s, self._now)
        self._at(self._now + cost_s, ENDS, lambda: self._finish(run))

    def _finish(self, run: Run) -> None:
        if run.ended_s < math.inf:
            return  # it was ended before, when the last one who waited gave up
        run.ended_s = self._now
        self._running.remove(run)
        self._num_idle += 1
        self._scheduler.predictor.finish(id(run), run.cost_s, run.busy_s, ended=not run.waited_for)
        for item in run.batch:
            job = self._by_request[id(item.request)]
            job.num_open -= 1
            if not job.num_open and job.fate == "waiting":
                self._end(job, "served")
