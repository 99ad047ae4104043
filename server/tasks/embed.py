"""Texts to vectors: check, tokenise, batch, cut.

Knows nothing of the transport. Deadline and timings come from the current request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import cast

import numpy as np
from numpy.typing import NDArray

from server import request as requests
from server.batching.batcher import Batcher
from server.batching.layout import Answer, U
from server.batching.packing import TokenSequence
from server.batching.request_queue import Waiting
from server.batching.statistics import counted
from server.errors import InvalidRequest
from server.metrics import ModelMetrics
from server.repository.manifest import Pooling
from server.text.pooling import cut_dimensions
from server.text.tokenizer import TokenizedText, Tokenizer, Truncation

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vector of one text and what it took."""

    vector: Vector
    num_tokens: int
    truncated: bool


class Embed:
    """The embed task of one loaded model."""

    def __init__(
        self,
        pooling: Pooling,
        first_position: int,
        tokenizer: Tokenizer,
        batcher: Batcher[TokenSequence],
        metrics: ModelMetrics,
        *,
        max_texts: int,
    ) -> None:
        self._pooling = pooling
        self._first_position = first_position
        self._tokenizer = tokenizer
        self._batcher = batcher
        self._metrics = metrics
        self._max_texts = max_texts

    async def run(
        self, texts: Sequence[str], truncation: Truncation, dimensions: int | None
    ) -> list[Embedded]:
        """Return one vector per text, in order.

        Raises:
            InvalidRequest: no texts, too many, or dimensions out of range.
            TooLong: a text beyond the limit while truncation is refused.
            QueueFull, DeadlineExpired, RunFailed: as `Batcher.submit`.
        """
        with counted(self._batcher.statistics):
            require_texts(texts, self._max_texts)
            self._check_dimensions(dimensions)
            request = requests.current.get()
            tokenized = await self._tokenize(texts, truncation, request)
            sequences = [_sequence(text.ids, self._first_position) for text in tokenized]
            waited = await self._batcher.submit(sequences, request.deadline)
            record_timings(request.timings, waited)
            return [
                Embedded(self._cut(answer, dimensions), len(text.ids), text.truncated)
                for text, answer in zip(tokenized, waited.answers(), strict=True)
            ]

    async def _tokenize(
        self, texts: Sequence[str], truncation: Truncation, request: requests.Request
    ) -> list[TokenizedText]:
        started = monotonic()
        tokenized = await self._tokenizer.encode(texts, truncation)
        request.timings.tokenize_s = monotonic() - started
        self._metrics.stages["tokenize"].observe(request.timings.tokenize_s)
        self._metrics.observe_request(len(text.ids) for text in tokenized)
        request.require_time_left()
        return tokenized

    def _check_dimensions(self, dimensions: int | None) -> None:
        whole = self._pooling.dimensions
        if dimensions is not None and not 1 <= dimensions <= whole:
            raise InvalidRequest(f"dimensions is {dimensions}; it must lie in 1 to {whole}")

    def _cut(self, answer: Answer, dimensions: int | None) -> Vector:
        vector = cast("Vector", answer[0])
        if dimensions is None:
            return vector
        return cut_dimensions(vector, dimensions, normalize=self._pooling.normalize)


def require_texts(texts: Sequence[str], max_texts: int) -> None:
    """Refuse an empty call and one with too many texts."""
    if not texts:
        raise InvalidRequest("texts is empty; send at least one")
    if len(texts) > max_texts:
        raise InvalidRequest(
            f"texts has {len(texts)} entries, at most {max_texts} are taken; split the call"
        )


def _sequence(ids: Sequence[int], first_position: int) -> TokenSequence:
    positions = np.arange(first_position, first_position + len(ids), dtype=np.int64)
    return TokenSequence(np.asarray(ids, np.int64), positions)


def record_timings(timings: requests.Timings, waited: Waiting[U]) -> None:
    """Note where the time of an answered request went."""
    timings.queue_s = waited.queue_s
    timings.run_s = waited.run_s
    timings.batch_sequences = waited.batch_units
    timings.batch_tokens = waited.batch_size
