"""Texts to vectors, dense or sparse: check, tokenise, batch, cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from server.batching.layout import Answer
from server.batching.statistics import counted
from server.errors import InvalidRequest
from server.repository.manifest import Manifest, Pooling
from server.tasks.text_runner import TextRunner, require_items
from server.text.pooling import cut_dimensions
from server.text.tokenized import TokenizedText
from server.text.tokenizer import Truncation

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of the texts of a call, in order, and what they took."""

    vectors: list[Vector]
    texts: list[TokenizedText]
    tokens: list[Vector] | None = None
    """Where asked for: of each text, (tokens, dimensions)."""


class Embed:
    """The embed task of one loaded model."""

    def __init__(self, manifest: Manifest, runner: TextRunner) -> None:
        self.is_sparse = manifest.task == "sparse-embed"
        """Vectors are weights of the terms of the vocabulary, mostly 0."""
        self._name = manifest.name
        self._pooling = manifest.pooling
        self._runner = runner
        self._per_token = next(
            (place for place, spec in enumerate(manifest.outputs) if spec.per == "token"), None
        )

    async def run(
        self,
        texts: Sequence[str],
        truncation: Truncation,
        dimensions: int | None = None,
        *,
        per_token: bool = False,
    ) -> Embedded:
        """Return one vector per text.

        Raises:
            InvalidRequest: no texts, too many, dimensions out of range, or vectors of tokens that
                the model has not.
            TooLong: a text beyond the limit while truncation is refused.
            QueueFull, PredictedLate, DeadlineExpired, RunFailed: as `Batcher.submit`.
        """
        with counted(self._runner.statistics):
            require_items("texts", texts, self._runner.max_texts)
            if dimensions is not None:
                require_dimensions(self._pooling, dimensions)
            if per_token and self._per_token is None:
                raise InvalidRequest(
                    f"model '{self._name}' has no vectors of tokens; leave per_token out"
                )
            tokenized = await self._runner.encode(texts, truncation)
            answers = await self._runner.run(tokenized)
            vectors = [cast("Vector", answer[0]) for answer in answers]
            if dimensions is not None:
                vectors = cut(self._pooling, vectors, dimensions)
            return Embedded(vectors, tokenized, self._of_tokens(answers) if per_token else None)

    def _of_tokens(self, answers: Sequence[Answer]) -> list[Vector]:
        assert self._per_token is not None
        return [cast("Vector", answer[self._per_token]) for answer in answers]


def require_dimensions(pooling: Pooling | None, dimensions: int) -> None:
    """Refuse to keep no values or more than there are."""
    if pooling is None:
        raise InvalidRequest("dimensions are of dense vectors, this model's are sparse; leave out")
    if not 1 <= dimensions <= pooling.dimensions:
        raise InvalidRequest(
            f"dimensions is {dimensions}; it must lie in 1 to {pooling.dimensions}"
        )


def cut(pooling: Pooling | None, vectors: Sequence[Vector], dimensions: int) -> list[Vector]:
    """Keep the first values of dense vectors."""
    assert pooling is not None, "dimensions were checked"
    return [cut_dimensions(vector, dimensions, normalize=pooling.normalize) for vector in vectors]
