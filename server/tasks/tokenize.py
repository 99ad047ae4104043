"""Texts to token ids, pieces and offsets: what the model would see, without running it."""

from collections.abc import Sequence

from server.tasks.text_runner import TextRunner, require_items
from server.text.tokenized import TokenizedText
from server.text.tokenizer import Named, Text, Truncation, in_texts


class Tokenize:
    """The tokenize task of one loaded model."""

    def __init__(self, runner: TextRunner) -> None:
        self._runner = runner

    async def run(
        self, texts: Sequence[Text], truncation: Truncation, named: Named = in_texts
    ) -> list[TokenizedText]:
        """Return the tokens of each text or pair, in order.

        Raises:
            InvalidRequest: no texts, or too many.
            TooLong: a text beyond the limit while truncation is refused.
        """
        require_items("texts", texts, self._runner.max_texts)
        return await self._runner.tokenize(texts, truncation, named)
