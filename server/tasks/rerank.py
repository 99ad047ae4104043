"""Texts by their relevance to a query: pairs read together, or vectors compared."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import cast

import numpy as np

from server.batching.statistics import counted
from server.errors import InvalidRequest, TooLong
from server.repository.manifest import Labels, Manifest
from server.tasks.text_runner import TextRunner, require_count, require_items
from server.text.scores import (
    Scores,
    Values,
    VectorSimilarity,
    best,
    relevance,
    relevance_probability,
    similarities,
    softmax,
)
from server.text.tokenized import TokenizedText
from server.text.tokenizer import Truncation


class Transform(Enum):
    """How relevance becomes a score."""

    RAW = "raw"
    SIGMOID = "sigmoid"


@dataclass(frozen=True, slots=True)
class RerankOptions:
    """What a caller may choose."""

    transform: Transform | None = None
    """None: as the model was published."""
    similarity: VectorSimilarity | None = None
    """None: cosine, where vectors are compared."""
    temperature: float = 1.0
    top_n: int | None = None


@dataclass(frozen=True, slots=True)
class Reranked:
    """What a query makes of texts."""

    scores: Scores
    """In the order of the texts, as are the weights."""
    weights: Scores
    """Shares of the query's attention: softmax of raw relevance over temperature."""
    ranking: list[int]
    """Indices of texts by falling relevance."""
    transform: Transform
    truncated: list[int]
    """Indices of texts that were cut."""
    num_tokens: int


class Rerank:
    """The rerank task of one loaded model, a cross-encoder or an embedding model."""

    def __init__(self, manifest: Manifest, runner: TextRunner) -> None:
        self._name = manifest.name
        self._labels = manifest.labels if manifest.task == "rerank" else None
        self._runner = runner

    async def run(
        self, query: str, texts: Sequence[str], truncation: Truncation, options: RerankOptions
    ) -> Reranked:
        """Score every text and rank them.

        Raises:
            InvalidRequest: no texts, too many, or an option that is out of range or does not fit
                the model.
            TooLong: the query, or a text beyond the limit while truncation is refused.
            QueueFull, PredictedLate, DeadlineExpired, RunFailed: as `Batcher.submit`.
        """
        with counted(self._runner.statistics):
            require_items("texts", texts, self._runner.max_texts)
            require_count("top_n", options.top_n)
            if not (math.isfinite(options.temperature) and options.temperature > 0):
                raise InvalidRequest(
                    f"temperature is {options.temperature}; it must be finite and above 0"
                )
            transform = self._transform(options)
            if self._labels is None:
                by = options.similarity or VectorSimilarity.COSINE
                raw, tokenized = await self._compared(query, texts, truncation, by)
            else:
                raw, tokenized = await self._read_together(query, texts, truncation, self._labels)
            ranking = best(raw, options.top_n)
            return Reranked(
                scores=self._scores(raw, transform),
                weights=softmax(raw, temperature=options.temperature),
                ranking=[int(index) for index in ranking],
                transform=transform,
                truncated=[
                    index for index, text in enumerate(tokenized[-len(texts) :]) if text.truncated
                ],
                num_tokens=sum(map(len, tokenized)),
            )

    def _transform(self, options: RerankOptions) -> Transform:
        if self._labels is None:
            if options.transform is Transform.SIGMOID:
                raise InvalidRequest(
                    f"model '{self._name}' compares vectors, whose similarity is no logit; "
                    "leave the sigmoid out"
                )
            return Transform.RAW
        if options.similarity is not None:
            raise InvalidRequest(
                f"model '{self._name}' reads query and text together and compares no vectors; "
                "leave similarity out"
            )
        own = Transform.RAW if self._labels.kind == "regression" else Transform.SIGMOID
        return options.transform or own

    def _scores(self, raw: Scores, transform: Transform) -> Scores:
        if transform is Transform.RAW or self._labels is None:
            return raw
        return relevance_probability(raw, self._labels.kind, len(self._labels.names))

    async def _read_together(
        self, query: str, texts: Sequence[str], truncation: Truncation, labels: Labels
    ) -> tuple[Scores, list[TokenizedText]]:
        tokenized = await self._runner.encode([(query, text) for text in texts], truncation)
        answers = await self._runner.run(tokenized)
        raw = [relevance(cast("Values", answer[0]), labels.kind) for answer in answers]
        return np.array(raw, np.float64), tokenized

    async def _compared(
        self, query: str, texts: Sequence[str], truncation: Truncation, by: VectorSimilarity
    ) -> tuple[Scores, list[TokenizedText]]:
        tokenized = await self._runner.encode([query, *texts], truncation, named=_named)
        if tokenized[0].truncated:
            raise TooLong(
                "query has more tokens than the model takes, "
                f"{self._runner.tokenizer.max_tokens}; shorten it, only texts are cut"
            )
        first, *others = [cast("Values", answer[0]) for answer in await self._runner.run(tokenized)]
        return similarities([first] * len(others), others, by), tokenized


def _named(index: int) -> str:
    return f"texts[{index - 1}]" if index else "query"
