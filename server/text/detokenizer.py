"""Token ids to text."""

from collections.abc import Sequence

from server.errors import InvalidRequest
from server.text.tokenizer import Tokenizer


class Detokenizer:
    """Reads token ids with the tokenizer of one bundle."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._native = tokenizer.native

    def piece(self, token_id: int) -> str:
        """Return a token as the vocabulary writes it; empty where the vocabulary is padded."""
        piece: str | None = self._native.id_to_token(token_id)
        return piece or ""

    def text(self, ids: Sequence[int], *, skip_special: bool = False) -> str:
        """Return the text of known ids."""
        text: str = self._native.decode(ids, skip_special_tokens=skip_special)
        return text

    def texts(self, sequences: Sequence[Sequence[int]], *, skip_special: bool) -> list[str]:
        """Return the text of each sequence.

        Raises:
            InvalidRequest: an id that is no token, with its place.
        """
        for index, ids in enumerate(sequences):
            for place, token_id in enumerate(ids):
                if self._native.id_to_token(token_id) is None:
                    raise InvalidRequest(
                        f"sequences[{index}] holds {token_id} at {place}, which is no token of "
                        "the vocabulary; send ids of the same model's Tokenize"
                    )
        return [self.text(ids, skip_special=skip_special) for ids in sequences]
