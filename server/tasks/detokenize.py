"""Token ids to texts."""

from collections.abc import Sequence
from functools import partial

from server.tasks.text_runner import TextRunner, require_items
from server.text.detokenizer import Detokenizer
from server.text.tokenizer import DIRECT_CHARS

CHARS_PER_TOKEN = 4
"""Roughly, to tell what is short enough for the event loop."""


class Detokenize:
    """The detokenize task of one loaded model."""

    def __init__(self, runner: TextRunner) -> None:
        self._runner = runner
        self._detokenizer = Detokenizer(runner.tokenizer)

    async def run(self, sequences: Sequence[Sequence[int]], *, skip_special: bool) -> list[str]:
        """Return the text of each sequence of ids, in order.

        Raises:
            InvalidRequest: no sequences, too many, or an id that is no token.
        """
        require_items("sequences", sequences, self._runner.max_texts)
        work = partial(self._detokenizer.texts, sequences, skip_special=skip_special)
        if sum(map(len, sequences)) * CHARS_PER_TOKEN <= DIRECT_CHARS:
            return work()
        return await self._runner.tokenizer.on_worker(work)
