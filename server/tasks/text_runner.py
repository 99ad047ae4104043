"""What every text task does: tokenise in the caller's time, then run with everybody else's.

Knows nothing of the transport. Deadline, priority and timings come from the current request.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import TypeVar

import numpy as np

from server import request as requests
from server.batching.layout import Answer, U
from server.batching.packing import TokenSequence
from server.batching.request_queue import Waiting
from server.batching.statistics import Statistics
from server.batching.submitter import Submitter
from server.errors import InvalidRequest
from server.metrics import ModelMetrics
from server.repository.contract import TOKEN_TYPES, require_text
from server.repository.manifest import Manifest
from server.text.tokenized import TokenizedText
from server.text.tokenizer import Named, Text, Tokenizer, Truncation, in_texts
from server.text.windows import windows

Item = TypeVar("Item")

DIRECT_READ_US = 2_000
"""Longest that the event loop reads the outputs of one call."""


class TextRunner:
    """Tokenizer and batcher of one loaded model."""

    def __init__(
        self,
        manifest: Manifest,
        tokenizer: Tokenizer,
        batcher: Submitter[TokenSequence],
        metrics: ModelMetrics,
        max_texts: int,
    ) -> None:
        text, limits = require_text(manifest)
        self.tokenizer = tokenizer
        self.max_texts = max_texts
        self._batcher = batcher
        self._metrics = metrics
        first = text.position_offset
        self._positions = np.arange(first, first + limits.max_tokens, dtype=np.int64)
        self._positions.flags.writeable = False
        self._has_types = any(spec.name == TOKEN_TYPES for spec in manifest.inputs)

    @property
    def statistics(self) -> Statistics:
        """What is counted for the model."""
        return self._batcher.statistics

    async def encode(
        self,
        texts: Sequence[Text],
        truncation: Truncation,
        *,
        offsets: bool = False,
        named: Named = in_texts,
    ) -> list[TokenizedText]:
        """Tokenise; see `Tokenizer.encode`.

        Raises:
            InvalidRequest, TooLong: as the tokenizer.
            PredictedLate, DeadlineExpired: there is no time left to run the texts.
        """
        request, started = self._begin()
        tokenized = await self.tokenizer.encode(texts, truncation, offsets=offsets, named=named)
        self._tokenized(request, started, tokenized)
        return tokenized

    async def tokenize(
        self, texts: Sequence[Text], truncation: Truncation, named: Named = in_texts
    ) -> list[TokenizedText]:
        """Tokenise with offsets what is not run.

        Raises:
            InvalidRequest, TooLong: as the tokenizer.
            DeadlineExpired: there is no time left.
        """
        request, started = requests.current.get(), monotonic()
        request.require_time_left()
        found = await self.tokenizer.encode(texts, truncation, offsets=True, named=named)
        request.timings.tokenize_s = monotonic() - started
        return found

    async def windows(
        self, question: str, contexts: Sequence[str], stride: int | None
    ) -> list[list[TokenizedText]]:
        """Tokenise a question with the parts of each context; see `server.text.windows`.

        Raises:
            InvalidRequest, TooLong: as `server.text.windows`, or more windows than a call may have.
            PredictedLate, DeadlineExpired: there is no time left to run them.
        """
        request, started = self._begin()
        found = await self.tokenizer.on_worker(partial(self._windows, question, contexts, stride))
        self._tokenized(request, started, [window for each in found for window in each])
        return found

    async def run(self, tokenized: Sequence[TokenizedText]) -> list[Answer]:
        """Return the outputs of each text.

        Raises:
            QueueFull, PredictedLate, DeadlineExpired, RunFailed: as `Batcher.submit`.
        """
        request = requests.current.get()
        waited = await self._batcher.submit(
            [self._sequence(text) for text in tokenized],
            request.deadline,
            priority=request.priority,
        )
        record_timings(request.timings, waited)
        return waited.answers()

    def _begin(self) -> tuple[requests.Request, float]:
        request = requests.current.get()
        self._batcher.require_hope(request.deadline, request.priority)
        return request, monotonic()

    def _tokenized(
        self, request: requests.Request, started: float, tokenized: Sequence[TokenizedText]
    ) -> None:
        request.timings.tokenize_s = monotonic() - started
        self._metrics.stages["tokenize"].observe(request.timings.tokenize_s)
        self._metrics.observe_request(map(len, tokenized))
        request.require_time_left()

    def _windows(
        self, question: str, contexts: Sequence[str], stride: int | None
    ) -> list[list[TokenizedText]]:
        found: list[list[TokenizedText]] = []
        left = self.max_texts
        for index, context in enumerate(contexts):
            name = f"contexts[{index}]"
            found.append(windows(self.tokenizer, question, context, stride, name=name, most=left))
            left -= len(found[-1])
        return found

    def _sequence(self, text: TokenizedText) -> TokenSequence:
        ids = np.asarray(text.ids, np.int64)
        types = np.asarray(text.type_ids, np.int64) if self._has_types else None
        return TokenSequence(ids, self._positions[: len(ids)], types)


async def read(work: Callable[[], Item], cost_us: float) -> Item:
    """Call what makes answers of outputs: at once, or on a thread where that would hold others up.

    `cost_us` is what it takes, roughly.
    """
    return await asyncio.to_thread(work) if cost_us > DIRECT_READ_US else work()


def require_items(name: str, items: Sequence[Item], most: int) -> None:
    """Refuse an empty call and one with too many texts, or whatever `name` says they are."""
    if not items:
        raise InvalidRequest(f"{name} is empty; send at least one")
    if len(items) > most:
        raise InvalidRequest(
            f"{name} has {len(items)} entries, at most {most} are taken; split the call"
        )


def require_count(name: str, value: int | None, most: int | None = None) -> None:
    """Refuse a number of things to return that is 0 or beyond what is possible."""
    if value is not None and value < 1:
        raise InvalidRequest(f"{name} is {value}; use at least 1, or leave it out")
    if value is not None and most is not None and value > most:
        raise InvalidRequest(f"{name} is {value}; use at most {most}")


def record_timings(timings: requests.Timings, waited: Waiting[U]) -> None:
    """Note where the time of an answered request went."""
    timings.queue_s = waited.queue_s
    timings.run_s = waited.run_s
    timings.batch_sequences = waited.batch_units
    timings.batch_tokens = waited.batch_size
