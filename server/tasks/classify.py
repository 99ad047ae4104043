"""Texts or pairs of texts to labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from server.batching.statistics import counted
from server.errors import InvalidRequest
from server.repository.manifest import Labels
from server.tasks.text_runner import TextRunner, require_count, require_items
from server.text.scores import Values, best, label_scores, labels_that_hold
from server.text.tokenized import TokenizedText
from server.text.tokenizer import Text, Truncation


@dataclass(frozen=True, slots=True)
class LabelScore:
    """A label and how well it fits."""

    label: str
    score: float
    index: int
    """Of the label in the model."""
    holds: bool


@dataclass(frozen=True, slots=True)
class Classified:
    """The labels of one text or pair."""

    labels: list[LabelScore]
    """By falling score, or in the model's order where they are values."""
    logits: Values
    """In the model's order."""
    text: TokenizedText


class Classify:
    """The classify task of one loaded model."""

    def __init__(self, labels: Labels, runner: TextRunner) -> None:
        self.labels = labels
        self._runner = runner

    async def run(
        self,
        inputs: Sequence[Text],
        truncation: Truncation,
        top_k: int | None = None,
        threshold: float | None = None,
    ) -> list[Classified]:
        """Return the labels of each input, in order.

        Args:
            inputs: texts or pairs.
            truncation: of too long ones.
            top_k: most labels; None for all.
            threshold: from which independent labels hold, in place of the model's.

        Raises:
            InvalidRequest: no inputs, too many, or an option that is out of range or does not fit
                the labels.
            TooLong: an input beyond the limit while truncation is refused.
            QueueFull, PredictedLate, DeadlineExpired, RunFailed: as `Batcher.submit`.
        """
        with counted(self._runner.statistics):
            require_items("inputs", inputs, self._runner.max_texts)
            require_count("top_k", top_k)
            self._check(threshold)
            tokenized = await self._runner.encode(inputs, truncation, named=in_inputs)
            answers = await self._runner.run(tokenized)
            return [
                self._classified(cast("Values", answer[0]), text, top_k, threshold)
                for answer, text in zip(answers, tokenized, strict=True)
            ]

    def _check(self, threshold: float | None) -> None:
        if threshold is None:
            return
        if self.labels.kind != "multi":
            raise InvalidRequest(
                f"threshold is for labels that are independent, this model's are "
                f"{self.labels.kind}; leave it out"
            )
        if not 0 <= threshold <= 1:
            raise InvalidRequest(f"threshold is {threshold}; it must lie in 0 to 1")

    def _classified(
        self, logits: Values, text: TokenizedText, top_k: int | None, threshold: float | None
    ) -> Classified:
        kind = self.labels.kind
        scores = label_scores(logits, kind)
        thresholds = self.labels.thresholds if threshold is None else threshold
        holds = labels_that_hold(scores, kind, thresholds)
        order = range(len(scores))[:top_k] if kind == "regression" else best(scores, top_k).tolist()
        found = [
            LabelScore(self.labels.names[index], float(scores[index]), index, bool(holds[index]))
            for index in order
        ]
        return Classified(found, logits, text)


def in_inputs(index: int) -> str:
    """Name an input in an error."""
    return f"inputs[{index}]"
