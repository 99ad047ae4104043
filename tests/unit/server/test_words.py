"""Which tokenizers are asked by words, and that words which are kept stay few."""

from collections.abc import Callable

import bundles
import pytest
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers, processors

import server.text.words
from server.text.words import MAX_CHARS, MAX_NEW, MAX_WORD_CHARS, Words


def bert() -> Tokenizer:
    native = bundles.tokenizer()
    native.normalizer = normalizers.BertNormalizer()
    native.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return native


def independent(native: Tokenizer) -> Words:
    words = Words.of(native)
    assert words is not None
    return words


def spaced(native: Tokenizer) -> None:
    native.add_tokens([AddedToken("new york")])


def typed(native: Tokenizer) -> None:
    native.post_processor = processors.TemplateProcessing(
        single="[CLS] $A:1 [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )


def composed(native: Tokenizer) -> None:
    native.normalizer = normalizers.Sequence([normalizers.BertNormalizer(), normalizers.NFC()])


def by_bytes(native: Tokenizer) -> None:
    native.pre_tokenizer = pre_tokenizers.ByteLevel()


def test_words_of_a_bert_tokenizer_are_independent() -> None:
    assert Words.of(bert()) is not None


@pytest.mark.parametrize("change", [spaced, typed, composed, by_bytes])
def test_other_tokenizers_are_asked_for_whole_texts(change: Callable[[Tokenizer], None]) -> None:
    native = bert()
    change(native)

    assert Words.of(native) is None


def test_a_text_of_too_many_new_words_is_left_to_the_library_and_learned_from() -> None:
    words = independent(bert())
    text = " ".join(f"word{number}" for number in range(2 * MAX_NEW + 1))

    assert [words.tokenized(text) is None for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("text", ["a " * MAX_CHARS, "word1 " + "w" * (MAX_WORD_CHARS + 1)])
def test_long_texts_and_words_are_left_to_the_library(text: str) -> None:
    words = independent(bert())

    assert words.tokenized(text) is None
    assert words.tokenized(text) is None


def test_words_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.text.words, "MAX_WORDS", 10)
    native = bert()
    words = independent(native)

    found = {
        text: words.tokenized(text) for text in [f"word{number} word1" for number in range(95)]
    }

    forgotten = [text for text, one in found.items() if one is None]
    assert len(forgotten) == 9
    for text, one in found.items():
        assert one is None or one.ids == native.encode(text).ids
