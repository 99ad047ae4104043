"""Texts to labelled spans of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from server.batching.layout import Answer
from server.batching.statistics import counted
from server.repository.manifest import Labels
from server.tasks.text_runner import TextRunner, read, require_items
from server.text.scores import Values, softmax
from server.text.spans import OUTSIDE, Aggregation, Tagger, TextSpan, Tokens, continues
from server.text.tokenized import TokenizedText
from server.text.tokenizer import Truncation

TOKEN_US = 5
"""To read the labels of one token."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """The spans of one text, in its order."""

    spans: list[TextSpan]
    text: TokenizedText


class TokenClassify:
    """The token-classify task of one loaded model."""

    def __init__(self, labels: Labels, runner: TextRunner) -> None:
        self._tagger = Tagger(labels.names)
        self._runner = runner

    async def run(
        self,
        texts: Sequence[str],
        truncation: Truncation,
        aggregation: Aggregation,
        ignored: frozenset[str] = frozenset(),
    ) -> list[Tagged]:
        """Return the spans of each text, in order; `ignored` labels are "O" where none is named.

        Raises:
            InvalidRequest: no texts, or too many.
            TooLong: a text beyond the limit while truncation is refused.
            QueueFull, PredictedLate, DeadlineExpired, RunFailed: as `Batcher.submit`.
        """
        with counted(self._runner.statistics):
            require_items("texts", texts, self._runner.max_texts)
            tokenized = await self._runner.encode(texts, truncation, offsets=True)
            answers = await self._runner.run(tokenized)
            left_out = ignored or frozenset({OUTSIDE})

            def work() -> list[Tagged]:
                return [
                    Tagged(
                        self._tagger.spans(
                            self._tokens(text, tokens, answer), aggregation, left_out
                        ),
                        tokens,
                    )
                    for text, tokens, answer in zip(texts, tokenized, answers, strict=True)
                ]

            return await read(work, sum(map(len, tokenized)) * TOKEN_US)

    def _tokens(self, text: str, tokens: TokenizedText, answer: Answer) -> Tokens:
        logits = cast("Values", answer[0])
        plain = [place for place, special in enumerate(tokens.specials) if not special]
        offsets, pieces = tokens.offsets, tokens.pieces
        kept = [offsets[place] for place in plain]
        tokenizer = self._runner.tokenizer
        return Tokens(
            softmax(logits[plain]) if plain else np.zeros((0, logits.shape[-1])),
            kept,
            continues(
                text,
                [pieces[place] for place in plain],
                kept,
                tokenizer.unknown,
                marks_continuation=tokenizer.marks_continuation,
            ),
        )
