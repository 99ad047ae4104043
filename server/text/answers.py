"""Start and end logits to spans of a context, as transformers' question-answering pipeline.

Pure. Where that looks at the best token spans of each window and then drops those outside the
context, this looks at the context only, and a span that two windows show counts once, by the
window that scores it higher.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.text.scores import Values, best, softmax
from server.text.tokenized import TokenizedText

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Answer:
    """Characters [start, end) of the context; both 0 and an empty text where there is none."""

    text: str
    score: float
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Window:
    """What of a context one sequence shows."""

    places: list[int]
    """Of the tokens of the context in the sequence: one run without a gap."""
    offsets: list[tuple[int, int]]
    """Characters of each."""
    words: list[int | None]
    """Word of each."""

    @classmethod
    def of(cls, text: TokenizedText) -> "Window":
        """Read a pair of question and context, encoded with offsets."""
        places = [place for place, part in enumerate(text.parts) if part == 1]
        offsets, words = text.offsets, text.words
        return cls(places, [offsets[place] for place in places], [words[place] for place in places])


class Answers:
    """Collects the answers to one question over the windows of one context."""

    def __init__(
        self, context: str, windows: Sequence[Window], *, max_tokens: int, top_k: int
    ) -> None:
        """Prepare to read windows.

        Args:
            context: that the offsets refer to.
            windows: all of the context's.
            max_tokens: of an answer.
            top_k: most answers.
        """
        self._context = context
        self._max_tokens = max_tokens
        self._top_k = top_k
        self._found: dict[tuple[int, int], float] = {}
        self._declined = np.inf
        self._characters = _characters(windows)

    def read(self, window: Window, start_logits: Values, end_logits: Values) -> None:
        """Take in what the model says about a window; logits of shape (tokens,)."""
        start, end = _probabilities(start_logits, window), _probabilities(end_logits, window)
        # A window without the answer declines; the one that declines least speaks for the context.
        self._declined = min(self._declined, float(start[0] * end[0]))
        if not window.places:
            return
        for first, last, score in best_spans(start[1:], end[1:], self._max_tokens, self._top_k):
            span = self._start(window, first), self._end(window, last)
            self._found[span] = max(score, self._found.get(span, 0.0))

    def ranked(self, *, may_decline: bool) -> list[Answer]:
        """Return answers by falling score; none is one too where the model may decline."""
        answers = [
            Answer(self._context[start:end], score, start, end)
            for (start, end), score in self._found.items()
        ]
        if may_decline:
            answers.append(Answer("", self._declined, 0, 0))
        return sorted(answers, key=lambda answer: -answer.score)[: self._top_k]

    def _start(self, window: Window, token: int) -> int:
        word = window.words[token]
        return window.offsets[token][0] if word is None else self._characters[word][0]

    def _end(self, window: Window, token: int) -> int:
        word = window.words[token]
        return window.offsets[token][1] if word is None else self._characters[word][1]


def best_spans(
    start: Scores, end: Scores, max_tokens: int, most: int
) -> list[tuple[int, int, float]]:
    """Return first token, last token and score of the spans with the largest products.

    Both of shape (tokens,), one token or more, all at least 0; of equal products the first.
    """
    length = min(max_tokens, len(end))
    # Row: where the span starts; column: how many tokens later it ends.
    ends = np.lib.stride_tricks.sliding_window_view(
        np.concatenate([end, np.full(length - 1, -1.0)]), length
    )
    products = np.where(ends >= 0, start[:, None] * ends, -1.0).ravel()
    found = []
    for place in best(products, most):
        first, more = divmod(int(place), length)
        if products[place] >= 0:
            found.append((first, first + more, float(products[place])))
    return found


def _characters(windows: Sequence[Window]) -> dict[int, tuple[int, int]]:
    """Return the characters of every word, some of which windows cut through."""
    found: dict[int, tuple[int, int]] = {}
    for window in windows:
        for word, (start, end) in zip(window.words, window.offsets, strict=True):
            if word is not None:
                first, last = found.get(word, (start, end))
                found[word] = min(first, start), max(last, end)
    return found


def _probabilities(logits: Values, window: Window) -> Scores:
    """Return a softmax over the first token, which declines, and the tokens of the context."""
    return softmax(logits[[0, *window.places]])
