"""How alike texts are, by their vectors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from server.batching.statistics import counted
from server.errors import InvalidRequest
from server.repository.manifest import Manifest
from server.tasks.embed import Vector, cut, require_dimensions
from server.tasks.text_runner import TextRunner, require_items
from server.text.scores import Scores, VectorSimilarity, similarities
from server.text.tokenizer import Truncation


@dataclass(frozen=True, slots=True)
class Compared:
    """What to compare: a source with texts, or the texts of pairs."""

    source: str | None
    texts: Sequence[str]
    pairs: Sequence[tuple[str, str]]

    def named(self) -> Iterator[tuple[str, str]]:
        """Yield every text with what the caller calls it."""
        if self.source is not None:
            yield self.source, "source"
        for index, text in enumerate(self.texts):
            yield text, f"texts[{index}]"
        for index, pair in enumerate(self.pairs):
            for text in pair:
                yield text, f"pairs[{index}]"

    def both(self) -> list[tuple[str, str]]:
        """Return the two texts of each comparison, in order."""
        if self.source is None:
            return list(self.pairs)
        return [(self.source, text) for text in self.texts]


@dataclass(frozen=True, slots=True)
class Similar:
    """How alike the texts of each comparison are, in order."""

    scores: Scores
    num_tokens: int
    """Of all distinct texts."""
    truncated: bool
    """Some text was cut."""


class Similarity:
    """The similarity task of one loaded embedding model."""

    def __init__(self, manifest: Manifest, runner: TextRunner) -> None:
        self._pooling = manifest.pooling
        self._runner = runner

    async def run(
        self,
        compared: Compared,
        truncation: Truncation,
        by: VectorSimilarity,
        dimensions: int | None = None,
    ) -> Similar:
        """Compare texts. One that comes again is run once.

        Raises:
            InvalidRequest: nothing to compare, too much, both forms at once, or dimensions out of
                range.
            TooLong: a text beyond the limit while truncation is refused.
            QueueFull, PredictedLate, DeadlineExpired, RunFailed: as `Batcher.submit`.
        """
        with counted(self._runner.statistics):
            self._check(compared, dimensions)
            names: dict[str, str] = {}
            for text, name in compared.named():
                names.setdefault(text, name)
            distinct = list(names)
            tokenized = await self._runner.encode(
                distinct, truncation, named=lambda index: names[distinct[index]]
            )
            answers = await self._runner.run(tokenized)
            vectors = [cast("Vector", answer[0]) for answer in answers]
            if dimensions is not None:
                vectors = cut(self._pooling, vectors, dimensions)
            of = dict(zip(distinct, vectors, strict=True))
            both = compared.both()
            scores = similarities([of[one] for one, _ in both], [of[two] for _, two in both], by)
            return Similar(
                scores, sum(map(len, tokenized)), any(text.truncated for text in tokenized)
            )

    def _check(self, compared: Compared, dimensions: int | None) -> None:
        if compared.pairs and (compared.source is not None or compared.texts):
            raise InvalidRequest("send source and texts, or pairs, not both")
        if compared.texts and compared.source is None:
            raise InvalidRequest("source is missing; send what the texts are compared with")
        name = "pairs" if compared.pairs else "texts"
        require_items(name, compared.pairs or compared.texts, self._runner.max_texts)
        if dimensions is not None:
            require_dimensions(self._pooling, dimensions)
