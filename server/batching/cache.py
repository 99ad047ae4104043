"""Answers units that came before from memory, and units under way from the run that has them.

Stands between the tasks and the batcher of one model, on the event loop. A flight is a unit that
one caller has handed to the batcher; others who ask for it meanwhile wait for that caller. One
that gives up hands nothing over: those who wait look again, and the first of them runs the unit.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Generic

from server.batching.answers import Answers
from server.batching.batcher import OnSubmit
from server.batching.layout import U
from server.batching.request_queue import Outcome, Waiting
from server.batching.statistics import Statistics
from server.batching.submitter import Submitter
from server.batching.unit_keys import Keys
from server.errors import DeadlineExpired, ServeError
from server.metrics import ModelMetrics

MAX_LATER = 2.0
"""A flight may have this many times the caller's time left. With the same timeout for all, the
one who came first is due first; one who is due much later may be served after the caller's end."""
MAX_LET_DOWN = 3
"""So often a caller waits for others that give up; then it runs its units itself."""


@dataclass(frozen=True, slots=True)
class Landing(Generic[U]):
    """How a flight ended."""

    outcome: Outcome
    waited: Waiting[U]
    """The request of the caller that ran it."""


@dataclass(frozen=True, slots=True, eq=False)
class Flight(Generic[U]):
    """A unit under way."""

    level: int
    deadline: float
    done: asyncio.Future[Landing[U] | None]
    """None when its caller gave up."""

    def serves(self, level: int, deadline: float, now: float) -> bool:
        """Return whether a request is as well off with this flight as in the queue by itself."""
        return self.level <= level and self.deadline - now <= MAX_LATER * (deadline - now)


class Cache(Generic[U]):
    """A batcher that runs no unit twice while it remembers the answer."""

    def __init__(
        self,
        batcher: Submitter[U],
        keys: Keys[U],
        max_bytes: int,
        num_levels: int,
        metrics: ModelMetrics,
        *,
        on_submit: OnSubmit | None = None,
    ) -> None:
        """Keep up to `max_bytes` of answers. There are `num_levels` of priority."""
        self._batcher = batcher
        self._keys = keys
        self._answers = Answers(max_bytes)
        self._middle = (num_levels + 1) // 2
        self._metrics = metrics
        self._on_submit = on_submit
        self._flights: dict[bytes, Flight[U]] = {}

    @property
    def statistics(self) -> Statistics:
        """Counters of the model."""
        return self._batcher.statistics

    @property
    def num_bytes(self) -> int:
        """What is kept takes so many bytes."""
        return self._answers.num_bytes

    @property
    def num_flights(self) -> int:
        """Units under way that others may wait for."""
        return len(self._flights)

    def require_hope(self, deadline: float, priority: int = 0) -> None:
        """Refuse a priority that does not exist. A unit that is kept needs no place in the queue.

        Raises:
            InvalidRequest: no such level of priority.
        """
        del deadline
        self._batcher.require_hope(math.inf, priority)

    async def submit(self, units: Sequence[U], deadline: float, *, priority: int = 0) -> Waiting[U]:
        """Return the request with an outcome for each unit. Raises what `Batcher.submit` raises.

        What is neither kept nor under way goes to the batcher in one request. A failed unit fails
        only those who asked for it, and is not kept.
        """
        self.require_hope(deadline, priority)
        loop, now = asyncio.get_running_loop(), monotonic()
        request = Waiting(units, deadline, now, loop.create_future(), priority or self._middle)
        if self._on_submit is not None:
            self._on_submit(request.sizes, request.priority, deadline)
        keys = [self._keys(unit) for unit in units]
        missing = dict(zip(keys, units, strict=True))
        outcomes = self._recall(missing)
        lookup_s = monotonic() - now
        num_run = num_let_down = 0
        while missing:
            joined = {} if num_let_down == MAX_LET_DOWN else self._joinable(missing, request)
            own = {key: unit for key, unit in missing.items() if key not in joined}
            if own:
                outcomes |= await self._lead(own, request)
                num_run += len(own)
            if joined:
                outcomes |= await self._follow(joined, request)
                num_let_down += 1
            missing = {key: unit for key, unit in missing.items() if key not in outcomes}
            outcomes |= self._recall(missing)
        request.outcomes[:] = [outcomes[key] for key in keys]
        request.num_unanswered = 0
        self._count(len(units), num_run, lookup_s)
        return request

    def _recall(self, missing: dict[bytes, U]) -> dict[bytes, Outcome]:
        """Take what is kept out of `missing` and return it."""
        found: dict[bytes, Outcome] = {}
        for key in [*missing]:
            answer = self._answers.get(key)
            if answer is not None:
                found[key] = answer
                del missing[key]
        return found

    def _joinable(self, missing: dict[bytes, U], request: Waiting[U]) -> dict[bytes, Flight[U]]:
        now = monotonic()
        return {
            key: flight
            for key in missing
            if (flight := self._flights.get(key)) is not None
            and flight.serves(request.priority, request.deadline, now)
        }

    async def _lead(self, own: dict[bytes, U], request: Waiting[U]) -> dict[bytes, Outcome]:
        """Run units, and tell those who wait for them how that went."""
        loop, level, deadline = asyncio.get_running_loop(), request.priority, request.deadline
        flights: dict[bytes, Flight[U]] = {
            key: Flight(level, deadline, loop.create_future()) for key in own
        }
        self._flights |= flights
        landings: dict[bytes, Landing[U]] = {}
        try:
            waited = await self._batcher.submit([*own.values()], deadline, priority=level)
            landings = self._land(own, waited)
        finally:
            for key, flight in flights.items():
                # A caller in more of a hurry may have taken its place.
                if self._flights.get(key) is flight:
                    del self._flights[key]
                flight.done.set_result(landings.get(key))
        _note(request, waited)
        return {key: landing.outcome for key, landing in landings.items()}

    def _land(self, own: dict[bytes, U], waited: Waiting[U]) -> dict[bytes, Landing[U]]:
        """Keep the answers of a request that has run, and return how each unit fared."""
        started = monotonic()
        landings = {}
        for key, outcome in zip(own, waited.outcomes, strict=True):
            assert outcome is not None, "an answered request has an outcome for each unit"
            kept = outcome if isinstance(outcome, ServeError) else self._answers.put(key, outcome)
            landings[key] = Landing(kept, waited)
        self.statistics.cache_miss.add(monotonic() - started, count=0)
        return landings

    async def _follow(
        self, joined: dict[bytes, Flight[U]], request: Waiting[U]
    ) -> dict[bytes, Outcome]:
        """Wait for units that others run; those whose runner gave up are left out."""
        pending = {flight.done for flight in joined.values() if not flight.done.done()}
        if pending:
            left_s = max(0.0, request.deadline - monotonic())
            _, late = await asyncio.wait(pending, timeout=left_s if left_s < math.inf else None)
            if late:
                raise DeadlineExpired(
                    "the deadline passed before the answer was ready; allow more time or send less"
                )
        outcomes = {}
        for key, flight in joined.items():
            landing = flight.done.result()
            if landing is not None:
                outcomes[key] = landing.outcome
                _note(request, landing.waited)
        return outcomes

    def _count(self, num_units: int, num_run: int, lookup_s: float) -> None:
        """Count an answered request: whatever it did not have to run is a hit."""
        num_hits, each_s = num_units - num_run, lookup_s / num_units
        self._metrics.cache_hits.inc(num_hits)
        self._metrics.cache_misses.inc(num_run)
        self.statistics.cache_hit.add(each_s * num_hits, num_hits)
        self.statistics.cache_miss.add(each_s * num_run, num_run)
        # The statistics extension counts a hit as queued, and in nothing else of a run.
        self.statistics.queue.add(0.0, num_hits)


def _note(request: Waiting[U], waited: Waiting[U]) -> None:
    """Let a request tell of the longest run that it waited for."""
    if waited.run_s >= request.run_s:
        request.queue_s = min(waited.queue_s, monotonic() - request.enqueued)
        request.run_s = waited.run_s
        request.batch_units = waited.batch_units
        request.batch_size = waited.batch_size
