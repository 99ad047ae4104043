"""The tokenizer of evaluations: words split before, windows over contexts, texts cut."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Regex
from tokenizers import Tokenizer as NativeTokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE, Unigram, WordLevel
from tokenizers.pre_tokenizers import (
    ByteLevel,
    Metaspace,
    PreTokenizer,
    Sequence,
    Split,
    Whitespace,
)
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer

from export.evaluation.tokenizer import MAX_WINDOW, STRIDE, Tokenizer

WORDS = tuple(f"w{number}" for number in range(50))
PIECES = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", *WORDS)
CORPUS = ["don't walk away", "they don't talk", "walk the talk away", "away they walk"] * 3


def save_word_level(path: Path) -> Path:
    native = NativeTokenizer(WordLevel({p: i for i, p in enumerate(PIECES)}, PIECES[3]))
    native.pre_tokenizer = Whitespace()
    native.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    native.save(str(path / "tokenizer.json"))
    return path / "tokenizer.json"


def byte_level(before: PreTokenizer) -> NativeTokenizer:
    native = NativeTokenizer(BPE())
    native.pre_tokenizer = before
    native.decoder = ByteLevelDecoder()
    alphabet = ByteLevel.alphabet()
    native.train_from_iterator(CORPUS, BpeTrainer(vocab_size=320, initial_alphabet=alphabet))
    return native


def split_first() -> PreTokenizer:
    pattern = Regex(r"'t| ?\w+| ?[^\s\w]+|\s+")
    return Sequence(
        [Split(pattern, "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]
    )


@pytest.mark.parametrize(
    "before", [ByteLevel(add_prefix_space=False), split_first()], ids=["bytes", "split, bytes"]
)
def test_words_have_the_ids_of_running_text(before: PreTokenizer, tmp_path: Path) -> None:
    native = byte_level(before)
    file = tmp_path / "tokenizer.json"
    native.save(str(file))
    words = ["they", "don't", "walk"]
    found = Tokenizer(file, 100, has_types=False).words(words)
    # A space before the first word too, as in the middle of a text.
    assert found.ids == native.encode(" they don't walk").ids
    assert [word for word in found.word_ids if word is not None] == sorted(
        word for word in found.word_ids if word is not None
    )
    assert set(found.word_ids) == {0, 1, 2}


def test_words_have_the_ids_that_a_prefix_space_gives_them(tmp_path: Path) -> None:
    """What transformers does for RoBERTa with `add_prefix_space` and `is_split_into_words`."""
    native = byte_level(ByteLevel(add_prefix_space=False))
    file = tmp_path / "tokenizer.json"
    native.save(str(file))
    found = Tokenizer(file, 100, has_types=False).words(["away", "they", "talk"])
    native.pre_tokenizer = ByteLevel(add_prefix_space=True)
    expected = native.encode(["away", "they", "talk"], is_pretokenized=True)
    assert found.ids == expected.ids
    assert found.word_ids == expected.word_ids
    native.save(str(file))
    assert Tokenizer(file, 100, has_types=False).words(["away", "they", "talk"]).ids == found.ids


def test_words_of_other_tokenizers_get_no_space(tmp_path: Path) -> None:
    native = NativeTokenizer(Unigram([("<unk>", 0.0), ("▁", -9.0), ("▁ab", -1.0), ("cd", -2.0)], 0))
    native.pre_tokenizer = Metaspace()
    native.save(str(tmp_path / "tokenizer.json"))
    found = Tokenizer(tmp_path / "tokenizer.json", 100, has_types=False).words(["ab", "cd"])
    assert found.tokens == ["▁ab", "▁", "cd"]
    assert found.word_ids == [0, 1, 1]


@pytest.mark.parametrize("asked", [1, 2, 5, 14, 15, 16])
@pytest.mark.parametrize("length", [1, 3, 40, 50])
def test_windows_show_every_token_of_the_context(asked: int, length: int, tmp_path: Path) -> None:
    limit = 20
    tokenizer = Tokenizer(save_word_level(tmp_path), limit, has_types=True)
    question, context = " ".join(WORDS[:asked]), " ".join(WORDS[:length])
    windows = tokenizer.windows(question, context)
    seen: set[str] = set()
    for window in windows:
        assert len(window.ids) <= limit
        assert window.sequence_ids.count(0) == asked
        for part, offsets, token in zip(
            window.sequence_ids, window.offsets, window.tokens, strict=True
        ):
            if part == 1:
                assert context[slice(*offsets)] == token
                seen.add(token)
        assert tokenizer.ids(window).types is not None
    assert seen == set(WORDS[:length])


def test_neighbouring_windows_share_half_of_a_short_room(tmp_path: Path) -> None:
    tokenizer = Tokenizer(save_word_level(tmp_path), 20, has_types=False)
    first, second, *_ = tokenizer.windows("w1 w2", " ".join(WORDS))
    shown = [
        [t for t, part in zip(w.tokens, w.sequence_ids, strict=True) if part == 1]
        for w in (first, second)
    ]
    # 20 less question and three special tokens: 15.
    assert [len(tokens) for tokens in shown] == [15, 15]
    assert shown[0][-7:] == shown[1][:7]


def test_windows_are_no_longer_than_those_of_squad(tmp_path: Path) -> None:
    tokenizer = Tokenizer(save_word_level(tmp_path), 512, has_types=False)
    first, second, *_ = tokenizer.windows("w1", " ".join(WORDS * 20))
    assert len(first.ids) == MAX_WINDOW
    assert second.offsets[3] == first.offsets[-1 - STRIDE]


def test_a_question_may_leave_no_room(tmp_path: Path) -> None:
    tokenizer = Tokenizer(save_word_level(tmp_path), 20, has_types=False)
    assert tokenizer.windows(" ".join(WORDS[:17]), "w1") == []
    assert tokenizer.windows(" ".join(WORDS[:40]), "w1") == []


def test_texts_are_cut_and_words_are_not(tmp_path: Path) -> None:
    tokenizer = Tokenizer(save_word_level(tmp_path), 10, has_types=True)
    assert not tokenizer.text("w1 w2").overflowing
    cut = tokenizer.text("w1 w2", " ".join(WORDS))
    assert cut.overflowing
    assert len(cut.ids) == 10
    np.testing.assert_array_equal(tokenizer.ids(cut).types, cut.type_ids)
    assert len(tokenizer.words(WORDS).ids) == 52
    assert Tokenizer(save_word_level(tmp_path), 10, has_types=False).ids(cut).types is None


def test_a_token_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    tokenizer = Tokenizer(save_word_level(tmp_path), 10, has_types=False)
    assert tokenizer.token(4) == "w0"
    with pytest.raises(ValueError, match="no token 99"):
        tokenizer.token(99)
