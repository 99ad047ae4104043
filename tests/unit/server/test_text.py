"""Tokenising and the last touches to a vector."""

from pathlib import Path

import bundles
import numpy as np
import pytest

from server.errors import BundleCorrupt, TooLong
from server.text.pooling import cut_dimensions
from server.text.tokenizer import Tokenizer, Truncation


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
