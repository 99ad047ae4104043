"""A text as the model will see it."""

from collections.abc import Sequence
from typing import TypeVar

from tokenizers import Encoding

C = TypeVar("C")


class TokenizedText:
    """One text or pair as the model will see it, special tokens included.

    Offsets, where asked for, are characters of the text that the token is of.
    """

    __slots__ = ("_encoding", "_kept")

    def __init__(self, encoding: Encoding, kept: Sequence[int] | None = None) -> None:
        """Keep some tokens, by default all."""
        self._encoding = encoding
        self._kept = kept

    def __len__(self) -> int:
        return len(self._all()) if self._kept is None else len(self._kept)

    @property
    def truncated(self) -> bool:
        """Whether some tokens were left out."""
        return self._kept is not None

    @property
    def ids(self) -> list[int]:
        """Token ids."""
        return self._of(self._all().ids)

    @property
    def type_ids(self) -> list[int]:
        """Token types."""
        return self._of(self._all().type_ids)

    @property
    def pieces(self) -> list[str]:
        """Tokens as the vocabulary writes them."""
        return self._of(self._all().tokens)

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """First character of each token and the one behind its last; both 0 for special ones."""
        return self._of(self._all().offsets)

    @property
    def specials(self) -> list[int]:
        """1 for each token that the template added, 0 for others."""
        return self._of(self._all().special_tokens_mask)

    @property
    def parts(self) -> list[int | None]:
        """0 for each token of the first text, 1 of the second, None for special ones."""
        return self._of(self._all().sequence_ids)

    @property
    def words(self) -> list[int | None]:
        """Which word of its text each token is of, None for special ones."""
        return self._of(self._all().word_ids)

    def _all(self) -> Encoding:
        """Return what the tokenizer says of the whole text."""
        return self._encoding

    def _of(self, column: list[C]) -> list[C]:
        return column if self._kept is None else [column[place] for place in self._kept]
