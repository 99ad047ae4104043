"""Requests waiting for a session: bounded, ordered by urgency, exact at every moment.

Single owner (the batcher, on the event loop). Time is an argument; nothing here waits.
"""

import asyncio
import math
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Generic, Literal

from server.batching.layout import Answer, U
from server.errors import InvalidRequest, QueueFull, ServeError

Outcome = Answer | ServeError

PATIENCE_S = 10.0
"""Requests of one level are served by deadline. One that has none, or a later one, is served as if
it had to be answered this soon, so that a stream of tighter ones cannot overtake it for ever."""


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
    priority: int = 1
    """Level, 1 first."""
    sizes: list[int] = field(init=False)
    outcomes: list[Outcome | None] = field(init=False)
    open: list[int] = field(init=False)
    """Indices of the units that were not taken yet, ascending."""
    open_size: int = field(init=False)
    num_unanswered: int = field(init=False)
    place: tuple[float, int] = (0.0, 0)
    """Sort key within its level, while it waits."""
    level: int = 0
    """Present level: the priority, raised by waiting. 0 when it does not wait."""
    queue_s: float = 0.0
    run_s: float = 0.0
    batch_units: int = 0
    batch_size: int = 0

    def __post_init__(self) -> None:
        self.sizes = [len(unit) for unit in self.units]
        self.open_size = sum(self.sizes)
        self.num_unanswered = len(self.sizes)
        self.open = list(range(self.num_unanswered))
        self.outcomes = [None] * self.num_unanswered

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

    @property
    def size(self) -> int:
        """Its size in the queue's measure."""
        return self.request.sizes[self.index]


class RequestQueue(Generic[U]):
    """Order: level of priority, raised by waiting; then deadline; then arrival."""

    def __init__(self, limits: QueueLimits, ageing_s: float = 0.0) -> None:
        """Hold at most `limits`; with `ageing_s` a request rises one level each so many seconds."""
        self._limits = limits
        self._ageing_s = ageing_s
        self._levels: dict[int, list[tuple[float, int]]] = {}
        self._level_sizes: dict[int, int] = {}
        self._waiting: dict[int, Waiting[U]] = {}
        self._rises: list[tuple[float, int]] = []
        self._numbers = count()
        self._window: list[Taken[U]] = []
        self.size = 0
        """Of all units not yet taken."""

    @property
    def num_requests(self) -> int:
        """Requests with at least one unit not yet taken."""
        return len(self._waiting)

    def oldest_age_s(self, now: float) -> float:
        """Return how long the oldest request has been waiting, 0 when nobody waits."""
        oldest = next(iter(self._waiting.values()), None)  # numbers ascend with arrival
        return now - oldest.enqueued if oldest else 0.0

    def earliest_deadline(self) -> float:
        """Return the first moment at which somebody who waits expires."""
        return min((request.deadline for request in self._waiting.values()), default=math.inf)

    def put(self, request: Waiting[U]) -> None:
        """Add a request.

        Raises:
            InvalidRequest: no queue of this size could ever hold it.
            QueueFull: it does not fit now.
        """
        size, limits = request.open_size, self._limits
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
        number = next(self._numbers)
        request.place = (min(request.deadline, request.enqueued + PATIENCE_S), number)
        self._waiting[number] = request
        self.size += size
        self._enter(request, request.priority)
        if self._ageing_s and request.priority > 1:
            heappush(self._rises, (request.enqueued + self._ageing_s, number))

    def discard(self, request: Waiting[U]) -> None:
        """Forget what is left of a request whose caller gave up. Idempotent."""
        if request.level:
            self._step_off(request, request.open_size)
            del self._waiting[request.place[1]]
            self.size -= request.open_size
            request.open, request.open_size = [], 0

    def size_before(self, deadline: float, priority: int, now: float) -> int:
        """Return the size of what would be served before a request that came now."""
        self._raise_levels(now)
        place = (min(deadline, now + PATIENCE_S), -1)
        before = sum(size for level, size in self._level_sizes.items() if level < priority)
        same = self._levels.get(priority, [])
        position = bisect_left(same, place)
        if position == len(same):
            return before + self._level_sizes.get(priority, 0)
        return before + sum(self._waiting[number].open_size for _, number in same[:position])

    def window(self, size: int, now: float) -> list[U]:
        """Return units in the order to serve them, until they have more than `size` together.

        Requests whose deadline has passed are skipped; their own timers answer them.
        """
        self._raise_levels(now)
        self._window = window = []
        total = 0
        for request in self._in_order():
            if request.deadline <= now:
                continue
            for index in request.open:
                window.append(Taken(request, index))
                total += request.sizes[index]
                if total > size:
                    return [item.unit for item in window]
        return [item.unit for item in window]

    def take(self, indices: Sequence[int]) -> list[Taken[U]]:
        """Remove the units at these ascending places of the last window, and return them."""
        taken = [self._window[index] for index in indices]
        by_request: dict[Waiting[U], set[int]] = {}
        for item in taken:
            by_request.setdefault(item.request, set()).add(item.index)
        for request, gone in by_request.items():
            size = sum(request.sizes[index] for index in gone)
            request.open = [index for index in request.open if index not in gone]
            request.open_size -= size
            self.size -= size
            if request.open:
                self._level_sizes[request.level] -= size
            else:
                self._step_off(request, size)
                del self._waiting[request.place[1]]
        self._window = []
        return taken

    def _in_order(self) -> Iterator[Waiting[U]]:
        for level in sorted(self._levels):
            for _, number in self._levels[level]:
                yield self._waiting[number]

    def _enter(self, request: Waiting[U], level: int) -> None:
        request.level = level
        insort(self._levels.setdefault(level, []), request.place)
        self._level_sizes[level] = self._level_sizes.get(level, 0) + request.open_size

    def _step_off(self, request: Waiting[U], size: int) -> None:
        """Take a request off its level, where it counted `size`."""
        self._level_sizes[request.level] -= size
        places = self._levels[request.level]
        del places[bisect_left(places, request.place)]
        request.level = 0

    def _raise_levels(self, now: float) -> None:
        """Move every request up that has waited long enough since it last moved."""
        while self._rises and self._rises[0][0] <= now:
            due, number = heappop(self._rises)
            request = self._waiting.get(number)
            if request is None:
                continue
            level = request.level - 1
            self._step_off(request, request.open_size)
            self._enter(request, level)
            if level > 1:
                heappush(self._rises, (due + self._ageing_s, number))
