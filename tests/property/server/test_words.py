"""A text's tokens by its words are the tokenizer's own, whatever the text."""

from functools import cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, WhitespaceSplit
from tokenizers.processors import TemplateProcessing

from server.text.words import MAX_NEW, MAX_WORD_CHARS, Words

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefgeé\u00df\u0130\u03c3\u03c2.,-'\u4e2d\u6587"  # sharp s, dotted I, two small sigmas
PIECES = [*LETTERS, "##a", "##b", "##c", "##\u0301", "ab", "##abc", "the", "##\u03c3"]
KINDS = {
    "uncased": BertNormalizer(),
    "cased": BertNormalizer(lowercase=False),
    "accents stay": BertNormalizer(strip_accents=False),
    "accents go": BertNormalizer(lowercase=False, strip_accents=True),
    "as written": None,
}
WHITE = " \t\n\r\x0b\x0c\x1c\x1f\x85\xa0\u2009\u2028\u3000\u200b\ufeff\x00\ufffd"


@cache
def tokenizer(kind: str) -> Tokenizer:
    pieces = {piece: index for index, piece in enumerate(dict.fromkeys([*SPECIALS, *PIECES]))}
    native = Tokenizer(WordPiece(pieces, unk_token=SPECIALS[1], max_input_chars_per_word=20))
    if (normalizer := KINDS[kind]) is not None:
        native.normalizer = normalizer
    native.pre_tokenizer = BertPreTokenizer() if normalizer is not None else WhitespaceSplit()
    native.add_special_tokens([*SPECIALS[:4], AddedToken("[MASK]", lstrip=True, rstrip=True)])
    native.add_tokens([AddedToken("ab-c", single_word=True), AddedToken("the.", normalized=True)])
    native.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return native


@cache
def words(kind: str) -> Words:
    found = Words.of(tokenizer(kind))
    assert found is not None
    return found


parts = st.one_of(
    st.text(max_size=6),
    st.text(alphabet="".join(PIECES) + WHITE + "\u0301\u0327\u00c0\u03a3", max_size=12),
    st.sampled_from([*SPECIALS, "ab-c", "the.", "the", "a" * 21, "ab" * 20, " ", "  "]),
)


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.lists(parts, max_size=8).map("".join))
@example(text="")
@example(text=" a  b ")
@example(text="e \u0301a")
@example(text="x[MASK] y")
@example(text="ab-c ab-ca the.the.")
def test_ids_are_those_of_the_tokenizer(kind: str, text: str) -> None:
    encoding = tokenizer(kind).encode(text)

    by_words = words(kind)
    found = [by_words.tokenized(text) for _ in range(2 + text.count(" ") // MAX_NEW)]

    assert found[-1] is not None or any(len(word) > MAX_WORD_CHARS for word in text.split(" "))
    for one in found:
        if one is not None:
            assert (one.ids, one.type_ids) == (encoding.ids, encoding.type_ids)
            assert len(one) == len(encoding)
            assert (one.pieces, one.offsets) == (encoding.tokens, encoding.offsets)
            assert not one.truncated
