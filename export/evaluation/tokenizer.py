"""The bundle's tokenizer, asked as evaluations need it.

Texts and pairs are cut to the limit of the model, words that were split before are not, and a long
context becomes several windows.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Encoding
from tokenizers import Tokenizer as NativeTokenizer
from tokenizers.processors import TemplateProcessing

from export.proof.batches import TokenIds

MAX_WINDOW = 384
"""Longest window of question and context, in tokens, and what two windows share at most: those of
SQuAD's models (Devlin et al., 2018)."""
STRIDE = 128


class Tokenizer:
    """A tokenizer for one model's evaluation. Can be pickled; not for several threads."""

    def __init__(self, file: Path, max_tokens: int, *, has_types: bool) -> None:
        """Read `tokenizer.json`; `has_types` if the model tells the texts of a pair apart."""
        self.max_tokens = max_tokens
        self._has_types = has_types
        self._native = NativeTokenizer.from_file(str(file))
        self._native.no_padding()
        if self._native.post_processor is None:
            # Without any, the library forgets which text the tokens of later windows belong to.
            self._native.post_processor = TemplateProcessing(single="$A", pair="$A:0 $B:1")
        # With such a pre-tokenizer a word has other ids after a space than at the very beginning.
        self._space = " " if _splits_at_spaces(json.loads(self._native.to_str())) else ""

    def __getstate__(self) -> dict[str, object]:
        # As text: the library's own pickles name classes that a careful reader does not know.
        return self.__dict__ | {"_native": self._native.to_str()}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__ |= state | {"_native": NativeTokenizer.from_str(str(state["_native"]))}

    def text(self, first: str, second: str | None = None) -> Encoding:
        """Encode a text or a pair, cut to the limit; `overflowing` tells whether it was cut."""
        self._native.enable_truncation(self.max_tokens)
        return self._native.encode(first, second)

    def words(self, words: Sequence[str]) -> Encoding:
        """Encode words that were split before, each as in running text; never cut.

        As transformers does it with `is_split_into_words` and, where words know the space before
        them, `add_prefix_space`.
        """
        self._native.no_truncation()
        return self._native.encode([self._space + word for word in words], is_pretokenized=True)

    def windows(self, question: str, context: str) -> list[Encoding]:
        """Encode a question with one part of the context after the other.

        Returns nothing when the question leaves no room for a single token of the context.
        """
        self._native.no_truncation()
        asked = len(self._native.encode(question, add_special_tokens=False).ids)
        limit = min(self.max_tokens, MAX_WINDOW)
        room = limit - asked - self._native.num_special_tokens_to_add(is_pair=True)
        if room < 1:
            return []
        # The library panics on a stride that is not below the room.
        stride = min(STRIDE, room // 2)
        self._native.enable_truncation(limit, stride=stride, strategy="only_second")
        encoding = self._native.encode(question, context)
        return [encoding, *encoding.overflowing]

    def ids(self, encoding: Encoding) -> TokenIds:
        """Return what the model is fed."""
        types = np.array(encoding.type_ids, np.int64) if self._has_types else None
        return TokenIds(np.array(encoding.ids, np.int64), types)

    def token(self, token_id: int) -> str:
        """Return a token as the vocabulary spells it.

        Raises:
            ValueError: there is none of this id.
        """
        token: str | None = self._native.id_to_token(token_id)
        if token is None:
            raise ValueError(f"the tokenizer has no token {token_id}")
        return token

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of tokens; special ones have none."""
        text: str = self._native.decode(list(ids))
        return text

    def plain_ids(self, text: str) -> list[int]:
        """Return the ids of a text in the middle of others: no special tokens, never cut."""
        self._native.no_truncation()
        ids: list[int] = self._native.encode(self._space + text, add_special_tokens=False).ids
        return ids


def _splits_at_spaces(part: object) -> bool:
    """Tell whether a pre-tokenizer of bytes leaves it to the text to begin with a space."""
    if isinstance(part, list):
        return any(map(_splits_at_spaces, part))
    if not isinstance(part, dict):
        return False
    if part.get("type") == "ByteLevel":
        return part.get("add_prefix_space") is False
    return any(_splits_at_spaces(part.get(name)) for name in ("pre_tokenizer", "pretokenizers"))
