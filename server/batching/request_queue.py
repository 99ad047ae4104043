"""Requests waiting for a session: bounded, first in first out, exact at every moment.

Single owner (the batcher, on the event loop). Time is an argument; nothing here waits.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal

from server.batching.layout import Answer, U
from server.errors import InvalidRequest, QueueFull, ServeError

Outcome = Answer | ServeError


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How much may wait."""

    max_requests: int
    max_size: int
    """Over all units that wait."""
    measure: Literal["tokens", "rows"] = "tokens"
    """What sizes count."""


@dataclass(slots=True, eq=False)
class Waiting(Generic[U]):
    """One request in the queue or in runs, until each of its units has an outcome."""

    units: Sequence[U]
    deadline: float
    enqueued: float
    done: asyncio.Future[None]
    outcomes: list[Outcome | None] = field(init=False)
    num_taken: int = 0
    num_open: int = field(init=False)
    queue_s: float = 0.0
    run_s: float = 0.0
    batch_units: int = 0
    batch_size: int = 0

    def __post_init__(self) -> None:
        self.num_open = len(self.units)
        self.outcomes = [None] * self.num_open

    def answers(self) -> list[Answer]:
        """Return the answer to each unit, in order.

        Raises:
            ServeError: what the first failed unit failed with.
        """
        answers: list[Answer] = []
        for outcome in self.outcomes:
            if isinstance(outcome, ServeError):
                raise outcome
            assert outcome is not None, "an answered request has an outcome for each unit"
            answers.append(outcome)
        return answers


@dataclass(frozen=True, slots=True)
class Taken(Generic[U]):
    """One unit on its way into a run."""

    request: Waiting[U]
    index: int

    @property
    def unit(self) -> U:
        """What to run."""
        return self.request.units[self.index]


class RequestQueue(Generic[U]):
    """First in, first out over requests; units of one request may leave in several runs."""

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._waiting: OrderedDict[Waiting[U], None] = OrderedDict()
        self.size = 0
        """Of all units not yet taken."""

    @property
    def num_requests(self) -> int:
        """Requests with at least one unit not yet taken."""
        return len(self._waiting)

    def oldest_age_s(self, now: float) -> float:
        """Return how long the head has been waiting, 0 when nobody waits."""
        head = next(iter(self._waiting), None)
        return now - head.enqueued if head else 0.0

    def put(self, request: Waiting[U]) -> None:
        """Append a request.

        Raises:
            InvalidRequest: no queue of this size could ever hold it.
            QueueFull: it does not fit now.
        """
        size, limits = _open_size(request), self._limits
        if size > limits.max_size:
            raise InvalidRequest(
                f"the call has {size} {limits.measure}, at most {limits.max_size} may wait at once;"
                " split it into several calls"
            )
        if self.num_requests >= limits.max_requests:
            raise QueueFull(f"{self.num_requests} requests are waiting, which is the limit")
        if self.size + size > limits.max_size:
            raise QueueFull(
                f"{self.size} {limits.measure} are waiting and the call has {size}; "
                f"the limit is {limits.max_size}"
            )
        self._waiting[request] = None
        self.size += size

    def discard(self, request: Waiting[U]) -> None:
        """Forget what is left of a request whose caller gave up. Idempotent."""
        if request in self._waiting:
            del self._waiting[request]
            self.size -= _open_size(request)

    def peek(self, budget: int, now: float) -> list[U]:
        """Return units from the head on, enough to fill a run of `budget`.

        Requests whose deadline has passed are skipped here and in `take`; their own timers
        answer them.
        """
        units: list[U] = []
        total = 0
        for request in self._waiting:
            if request.deadline <= now:
                continue
            for unit in request.units[request.num_taken :]:
                units.append(unit)
                total += len(unit)
                if total > budget:
                    return units
        return units

    def take(self, count: int, now: float) -> list[Taken[U]]:
        """Remove the first `count` units that `peek` showed at the same `now`."""
        taken: list[Taken[U]] = []
        finished: list[Waiting[U]] = []
        for request in self._waiting:
            if len(taken) == count:
                break
            if request.deadline <= now:
                continue
            end = min(request.num_taken + count - len(taken), len(request.units))
            taken.extend(Taken(request, index) for index in range(request.num_taken, end))
            request.num_taken = end
            if end == len(request.units):
                finished.append(request)
        for request in finished:
            del self._waiting[request]
        self.size -= sum(len(item.unit) for item in taken)
        return taken


def _open_size(request: Waiting[U]) -> int:
    return sum(len(unit) for unit in request.units[request.num_taken :])
