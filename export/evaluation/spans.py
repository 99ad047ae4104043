"""Extractive question answering: the best span of the context, or none.

Follows the scripts that SQuAD models are measured with (transformers' `run_qa.py`): windows over
long contexts, the sum of start and end logits, no answer where the first token scores higher. Where
those look at the 20 best starts and ends, this looks at every span.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from export.evaluation.answer import Answer, Vector
from export.evaluation.evaluation import Evaluation, Subject
from export.evaluation.inputs import Inputs
from export.quality.compare import Comparison, compare_answers
from export.quality.examples import EvalFile, Question
from export.quality.spans import normalise

MAX_ANSWER_TOKENS = 30


@dataclass(frozen=True, slots=True)
class Span:
    """Part of a context, and what it scores."""

    score: float
    first: int
    last: int
    """Both of the span."""


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a context that one input shows."""

    row: int
    """Of the example."""
    first: int
    """Token of the input that the context begins at."""
    offsets: NDArray[np.int32]
    """Where each token of the context begins and ends, in characters: (tokens, 2)."""


def best_span(start: Vector, end: Vector) -> Span:
    """Return the span of at most `MAX_ANSWER_TOKENS` with the largest sum of logits.

    Both of shape (tokens,), one token or more; of equal sums the first.
    """
    beyond = np.full(MAX_ANSWER_TOKENS - 1, -np.inf)
    # Row: where the span starts; column: how many tokens later it ends.
    ends = np.lib.stride_tricks.sliding_window_view(
        np.concatenate([end.astype(np.float64), beyond]), MAX_ANSWER_TOKENS
    )
    sums = start[:, None] + ends
    first, more = divmod(int(sums.argmax()), MAX_ANSWER_TOKENS)
    return Span(float(sums[first, more]), first, first + more)


@dataclass(frozen=True)
class Spans(Evaluation[Sequence[str]]):
    """Answers to questions, in the words of the context."""

    windows: tuple[Window, ...]
    """One for each input."""
    may_decline: bool
    """Some question of the file has no answer, so that the models may give none."""

    @classmethod
    def of(cls, file: EvalFile, subject: Subject) -> Self:
        """Ask every question of every part of its context.

        Raises:
            EvalFileInvalid: a question that leaves no room for the context.
        """
        inputs = Inputs(file, subject.tokenizer)
        windows = []
        for row, example in enumerate(file.all_of(Question)):
            encodings = subject.tokenizer.windows(example.question, example.context)
            if not encodings:
                raise file.invalid(
                    row,
                    "field 'question' leaves no room for the context: the model takes at most "
                    f"{subject.tokenizer.max_tokens} tokens",
                )
            for encoding in encodings:
                inputs.add(row, encoding)
                windows.append(_window(row, encoding))
        may_decline = any(
            not any(map(normalise, example.answers)) for example in file.all_of(Question)
        )
        return cls(file, inputs.collected, inputs.notes, tuple(windows), may_decline)

    def read(self, answers: Iterable[Answer]) -> Sequence[str]:
        """Return the answer to each question; empty for none."""
        examples = self.file.all_of(Question)
        texts, scores = [""] * len(examples), np.full(len(examples), -np.inf)
        declined = np.full(len(examples), np.inf)
        for window, answer in zip(self.windows, answers, strict=True):
            start, end = answer["start_logits"][0], answer["end_logits"][0]
            row = window.row
            # A window without the answer declines; only if all do is there none.
            declined[row] = min(declined[row], float(start[0]) + float(end[0]))
            shown = slice(window.first, window.first + len(window.offsets))
            if not len(window.offsets):
                continue
            span = best_span(start[shown], end[shown])
            if span.score > scores[row]:
                begin, stop = window.offsets[span.first, 0], window.offsets[span.last, 1]
                texts[row], scores[row] = examples[row].context[begin:stop], span.score
        none = (declined > scores) & self.may_decline
        return ["" if missing else text for missing, text in zip(none, texts, strict=True)]

    def compare(self, reference: Sequence[str], bundle: Sequence[str]) -> tuple[Comparison, ...]:
        """Compare by exact match and F1."""
        accepted = [example.answers for example in self.file.all_of(Question)]
        return compare_answers(accepted, reference, bundle)


def _window(row: int, encoding: Encoding) -> Window:
    shown = [index for index, part in enumerate(encoding.sequence_ids) if part == 1]
    offsets = np.array([encoding.offsets[index] for index in shown], np.int32).reshape(-1, 2)
    return Window(row, shown[0] if shown else 0, offsets)
