"""Tokenising and the last touches to a vector."""

import asyncio
from pathlib import Path
from typing import Literal

import bundles
import numpy as np
import pytest
from tokenizers import processors

from server.errors import BundleCorrupt, InvalidRequest, TooLong
from server.text.detokenizer import Detokenizer
from server.text.pooling import cut_dimensions
from server.text.tokenizer import DIRECT_CHARS, Text, Tokenizer, Truncation, num_chars
from server.text.windows import windows


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    native = bundles.tokenizer()
    # Many published tokenizers carry these settings; the server must not inherit them.
    native.enable_padding(length=20)
    native.enable_truncation(5)
    native.save(str(tmp_path / "tokenizer.json"))
    return Tokenizer(tmp_path / "tokenizer.json", max_tokens=8)


def test_settings_in_the_file_do_not_pad_or_cut(tokenizer: Tokenizer) -> None:
    (text,) = tokenizer.encode_now(["word1 word2 word3 word4 word5"], Truncation.REFUSE)

    assert len(text.ids) == 7
    assert not text.truncated


def test_too_long_names_text_count_and_limit(tokenizer: Tokenizer) -> None:
    with pytest.raises(TooLong, match=r"texts\[1\] has 12 tokens, .* at most 8"):
        tokenizer.encode_now(["word1", "word1 " * 10], Truncation.REFUSE)


@pytest.mark.parametrize(
    ("truncation", "first"), [(Truncation.KEEP_START, 4), (Truncation.KEEP_END, 8)]
)
def test_truncation_keeps_special_tokens(
    tokenizer: Tokenizer, truncation: Truncation, first: int
) -> None:
    words = " ".join(f"word{number}" for number in range(10))

    (text,) = tokenizer.encode_now([words], truncation)

    assert text.ids == [2, *range(first, first + 6), 3]
    assert text.truncated


def test_damaged_tokenizer_is_a_corrupt_bundle(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": 5}')

    with pytest.raises(BundleCorrupt, match="tokenizer"):
        Tokenizer(tmp_path / "tokenizer.json", max_tokens=8)


def test_cut_vector_is_normalised_where_the_whole_was() -> None:
    vector = np.array([3.0, 4.0, 12.0], np.float32) / np.float32(13)

    np.testing.assert_allclose(cut_dimensions(vector, 2, normalize=True), [0.6, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(cut_dimensions(vector, 2, normalize=False), vector[:2])


def test_cut_of_nothing_stays_finite() -> None:
    assert not cut_dimensions(np.zeros(3, np.float32), 2, normalize=True).any()


def test_pairs_know_their_parts_types_and_characters(tokenizer: Tokenizer) -> None:
    (text,) = tokenizer.encode_now([("word1 word2", "wörd3")], Truncation.REFUSE, offsets=True)

    assert text.ids == [2, 5, 6, 3, 1, 3]
    assert text.type_ids == [0, 0, 0, 0, 1, 1]
    assert text.parts == [None, 0, 0, None, 1, None]
    assert text.specials == [1, 0, 0, 1, 0, 1]
    assert text.offsets == [(0, 0), (0, 5), (6, 11), (0, 0), (0, 5), (0, 0)]
    assert text.words == [None, 0, 1, None, 0, None]


@pytest.mark.parametrize(
    ("truncation", "kept"), [(Truncation.KEEP_START, [6, 7]), (Truncation.KEEP_END, [8, 9])]
)
def test_only_the_second_text_of_a_pair_is_cut(
    tokenizer: Tokenizer, truncation: Truncation, kept: list[int]
) -> None:
    pair = "word1 word1 word1", "word2 word3 word4 word5"

    (text,) = tokenizer.encode_now([pair], truncation)

    assert text.ids == [2, 5, 5, 5, 3, *kept, 3]
    assert text.type_ids == [0, 0, 0, 0, 0, 1, 1, 1]
    assert text.truncated


SPECIALS = [("[CLS]", 2), ("[SEP]", 3)]
TEMPLATES: dict[str, processors.PostProcessor] = {
    "template": processors.TemplateProcessing("$A [SEP]", "[CLS] $A $B:1 [SEP]:1", SPECIALS),
    "bert": processors.BertProcessing(SPECIALS[1], SPECIALS[0]),
    "roberta": processors.RobertaProcessing(SPECIALS[1], SPECIALS[0]),
    "bytes": processors.ByteLevel(),
}


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("direction", ["left", "right"])
@pytest.mark.parametrize("text", ["word1 " * 9, ("word1 word2", " word3 word4" * 5)])
def test_cut_texts_are_those_that_the_library_cuts(
    tmp_path: Path, template: str, direction: Literal["left", "right"], text: Text
) -> None:
    native = bundles.tokenizer()
    native.post_processor = TEMPLATES[template]
    native.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer(tmp_path / "tokenizer.json", max_tokens=8)
    cut = Truncation.KEEP_START if direction == "right" else Truncation.KEEP_END
    strategy = "longest_first" if isinstance(text, str) else "only_second"
    native.enable_truncation(8, strategy=strategy, direction=direction)

    (found,) = tokenizer.encode_now([text], cut, offsets=True)

    (expected,) = native.encode_batch([text])
    assert found.ids == expected.ids
    assert found.type_ids == expected.type_ids
    assert found.parts == expected.sequence_ids
    assert found.offsets == expected.offsets


def test_first_text_that_leaves_no_room_is_too_long(tokenizer: Tokenizer) -> None:
    with pytest.raises(TooLong, match=r"inputs\[0\]: the first text leaves no room"):
        tokenizer.encode_now(
            [("word1 " * 8, "word2")], Truncation.KEEP_START, named=lambda index: f"inputs[{index}]"
        )


async def test_much_text_is_encoded_like_little(tokenizer: Tokenizer) -> None:
    texts = ["word1", "word2 word3"] * 200

    many = await tokenizer.encode(texts, Truncation.REFUSE)
    few = await tokenizer.encode(texts[:2], Truncation.REFUSE)

    assert sum(map(num_chars, texts)) > DIRECT_CHARS > sum(map(num_chars, texts[:2]))
    assert [text.ids for text in many[-2:]] == [text.ids for text in few]


async def test_calls_that_share_the_worker_fail_alone(tokenizer: Tokenizer) -> None:
    long = ["word1"] * 500

    first, bad, last = await asyncio.gather(
        tokenizer.encode(long, Truncation.REFUSE),
        tokenizer.encode([*long, "word1 " * 9], Truncation.REFUSE),
        tokenizer.encode(long, Truncation.REFUSE),
        return_exceptions=True,
    )

    assert isinstance(bad, TooLong)
    assert isinstance(first, list)
    assert isinstance(last, list)


def test_windows_show_all_of_the_context_and_overlap(tokenizer: Tokenizer) -> None:
    context = " ".join(f"word{number}" for number in range(10))

    found = windows(tokenizer, "word50", context, 1, name="context", most=9)

    # Room for four tokens beside the question, of which one was in the window before.
    shown = [text.ids[3:-1] for text in found]
    assert shown == [[4, 5, 6, 7], [7, 8, 9, 10], [10, 11, 12, 13]]
    assert all(text.ids[:3] == [2, 54, 3] and text.ids[-1] == 3 for text in found)
    assert found[1].offsets[3] == (18, 23)


def test_windows_share_half_of_the_room_unless_asked_otherwise(tokenizer: Tokenizer) -> None:
    context = " ".join(f"word{number}" for number in range(8))

    found = windows(tokenizer, "word50", context, None, name="context", most=9)

    assert [text.ids[3] for text in found] == [4, 6, 8]


@pytest.mark.parametrize(
    ("question", "stride", "most", "hint"),
    [
        ("word1 " * 6, None, 9, "question leaves no room for contexts"),
        ("word1", 4, 9, "room for 4 tokens"),
        ("word1", 3, 5, "6, left of what a call may have: 5"),
    ],
)
def test_windows_that_cannot_be_say_why(
    tokenizer: Tokenizer, question: str, stride: int | None, most: int, hint: str
) -> None:
    with pytest.raises(InvalidRequest, match=hint):
        windows(tokenizer, question, "word2 " * 9, stride, name="contexts[0]", most=most)


def test_tokens_are_found_as_pieces_or_as_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.token_of("word1") == 5
    assert tokenizer.token_of(" word1 ") == 5
    assert tokenizer.token_of("word1 word2") is None
    assert tokenizer.token_of("nothing") is None
    assert tokenizer.token_of("") is None


def test_ids_become_text_again(tokenizer: Tokenizer) -> None:
    detokenizer = Detokenizer(tokenizer)

    assert detokenizer.texts([[2, 5, 6, 3]], skip_special=False) == ["[CLS] word1 word2 [SEP]"]
    assert detokenizer.texts([[5], []], skip_special=True) == ["word1", ""]


def test_id_beyond_the_vocabulary_is_named(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidRequest, match=r"sequences\[1\] holds 64 at 2"):
        Detokenizer(tokenizer).texts([[5], [5, 6, 64]], skip_special=False)
