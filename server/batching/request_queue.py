"""Requests waiting for a session: bounded, first in first out, exact at every moment.

Single owner (the batcher, on the event loop). Time is an argument; nothing here waits.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from server.batching.packing import TokenSequence
from server.errors import InvalidRequest, QueueFull, ServeError

Vector = NDArray[np.float32]
Outcome = Vector | ServeError


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How much may wait."""

    max_requests: int
    max_tokens: int


@dataclass(slots=True, eq=False)
class Waiting:
    """One request in the queue or in runs, until each of its sequences has an outcome."""

    sequences: Sequence[TokenSequence]
    deadline: float
    enqueued: float
    done: asyncio.Future[None]
    outcomes: list[Outcome | None] = field(init=False)
    num_taken: int = 0
    num_open: int = field(init=False)
    queue_s: float = 0.0
    run_s: float = 0.0
    batch_sequences: int = 0
    batch_tokens: int = 0

    def __post_init__(self) -> None:
        self.num_open = len(self.sequences)
        self.outcomes = [None] * self.num_open

    def vectors(self) -> list[Vector]:
        """Return the vector of each sequence, in order.

        Raises:
            ServeError: what the first failed sequence failed with.
        """
        vectors: list[Vector] = []
        for outcome in self.outcomes:
            if isinstance(outcome, ServeError):
                raise outcome
            assert outcome is not None, "an answered request has an outcome for each sequence"
            vectors.append(outcome)
        return vectors


@dataclass(frozen=True, slots=True)
class Taken:
    """One sequence on its way into a run."""

    request: Waiting
    index: int

    @property
    def sequence(self) -> TokenSequence:
        """The tokens to run."""
        return self.request.sequences[self.index]


class RequestQueue:
    """First in, first out over requests; sequences of one request may leave in several runs."""

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._waiting: OrderedDict[Waiting, None] = OrderedDict()
        self.num_tokens = 0

    @property
    def num_requests(self) -> int:
        """Requests with at least one sequence not yet taken."""
        return len(self._waiting)

    def oldest_age_s(self, now: float) -> float:
        """Return how long the head has been waiting, 0 when nobody waits."""
        head = next(iter(self._waiting), None)
        return now - head.enqueued if head else 0.0

    def put(self, request: Waiting) -> None:
        """Append a request.

        Raises:
            InvalidRequest: no queue of this size could ever hold it.
            QueueFull: it does not fit now.
        """
        tokens = _open_tokens(request)
        if tokens > self._limits.max_tokens:
            raise InvalidRequest(
                f"the call has {tokens} tokens, at most {self._limits.max_tokens} may wait at once;"
                " split it into several calls"
            )
        if self.num_requests >= self._limits.max_requests:
            raise QueueFull(f"{self.num_requests} requests are waiting, which is the limit")
        if self.num_tokens + tokens > self._limits.max_tokens:
            raise QueueFull(
                f"{self.num_tokens} tokens are waiting and the call has {tokens}; "
                f"the limit is {self._limits.max_tokens}"
            )
        self._waiting[request] = None
        self.num_tokens += tokens

    def discard(self, request: Waiting) -> None:
        """Forget what is left of a request whose caller gave up. Idempotent."""
        if request in self._waiting:
            del self._waiting[request]
            self.num_tokens -= _open_tokens(request)

    def peek_lengths(self, max_tokens: int, now: float) -> list[int]:
        """Return lengths from the head on, enough to fill a run of `max_tokens`.

        Requests whose deadline has passed are skipped here and in `take`; their own timers
        answer them.
        """
        lengths: list[int] = []
        total = 0
        for request in self._waiting:
            if request.deadline <= now:
                continue
            for sequence in request.sequences[request.num_taken :]:
                lengths.append(len(sequence))
                total += len(sequence)
                if total > max_tokens:
                    return lengths
        return lengths

    def take(self, count: int, now: float) -> list[Taken]:
        """Remove the first `count` sequences that `peek_lengths` showed at the same `now`."""
        taken: list[Taken] = []
        finished: list[Waiting] = []
        for request in self._waiting:
            if len(taken) == count:
                break
            if request.deadline <= now:
                continue
            end = min(request.num_taken + count - len(taken), len(request.sequences))
            taken.extend(Taken(request, index) for index in range(request.num_taken, end))
            request.num_taken = end
            if end == len(request.sequences):
                finished.append(request)
        for request in finished:
            del self._waiting[request]
        self.num_tokens -= sum(len(item.sequence) for item in taken)
        return taken


def _open_tokens(request: Waiting) -> int:
    return sum(len(sequence) for sequence in request.sequences[request.num_taken :])
