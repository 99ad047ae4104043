"""Questions to the spans of contexts that answer them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from server.batching.layout import Answer as Outputs
from server.batching.statistics import counted
from server.tasks.text_runner import TextRunner, read, require_count, require_items
from server.text.answers import Answer, Answers, Window
from server.text.scores import Values
from server.text.tokenized import TokenizedText

MAX_TOP_K = 100
"""Answers that a context may be asked for."""
TOKEN_US = 2
"""To read what one token of a window starts and ends."""


@dataclass(frozen=True, slots=True)
class QuestionOptions:
    """What a caller may choose."""

    top_k: int = 1
    max_answer_tokens: int = 15
    stride: int | None = None
    """Tokens that windows share; None as `server.text.windows`."""
    may_decline: bool = False
    """No answer is one too."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The answers of one context, by falling score."""

    answers: list[Answer]
    num_windows: int
    num_tokens: int


class AnswerQuestion:
    """The question-answer task of one loaded model."""

    def __init__(self, runner: TextRunner) -> None:
        self._runner = runner

    async def run(
        self, question: str, contexts: Sequence[str], options: QuestionOptions
    ) -> list[Answered]:
        """Return the answers of each context, in order.

        Raises:
            InvalidRequest: no contexts, too many windows, or an option out of range.
            TooLong: the question leaves no room for the context.
            QueueFull, PredictedLate, DeadlineExpired, RunFailed: as `Batcher.submit`.
        """
        with counted(self._runner.statistics):
            require_items("contexts", contexts, self._runner.max_texts)
            require_count("top_k", options.top_k, MAX_TOP_K)
            require_count("max_answer_tokens", options.max_answer_tokens)
            by_context = await self._runner.windows(question, contexts, options.stride)
            every = [window for windows in by_context for window in windows]
            outputs = iter(await self._runner.run(every))

            def work() -> list[Answered]:
                return [
                    _answered(context, windows, [next(outputs) for _ in windows], options)
                    for context, windows in zip(contexts, by_context, strict=True)
                ]

            return await read(work, sum(map(len, every)) * TOKEN_US)


def _answered(
    context: str,
    tokenized: Sequence[TokenizedText],
    outputs: Sequence[Outputs],
    options: QuestionOptions,
) -> Answered:
    windows = [Window.of(text) for text in tokenized]
    answers = Answers(context, windows, max_tokens=options.max_answer_tokens, top_k=options.top_k)
    for window, output in zip(windows, outputs, strict=True):
        answers.read(window, cast("Values", output[0]), cast("Values", output[1]))
    found = answers.ranked(may_decline=options.may_decline)
    return Answered(found, len(tokenized), sum(map(len, tokenized)))
