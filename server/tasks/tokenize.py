"""Texts to token ids, pieces and offsets: what the model would see, without running it."""

from collections.abc import Sequence

from server import request as requests
from server.tasks.embed import require_texts
from server.text.tokenizer import TokenizedText, Tokenizer, Truncation


class Tokenize:
    """The tokenize task of one loaded model."""

    def __init__(self, tokenizer: Tokenizer, max_texts: int) -> None:
        self._tokenizer = tokenizer
        self._max_texts = max_texts

    async def run(self, texts: Sequence[str], truncation: Truncation) -> list[TokenizedText]:
        """Return the tokens of each text, in order.

        Raises:
            InvalidRequest: no texts, or too many.
            TooLong: a text beyond the limit while truncation is refused.
        """
        require_texts(texts, self._max_texts)
        requests.current.get().require_time_left()
        return await self._tokenizer.encode(texts, truncation, offsets=True)
