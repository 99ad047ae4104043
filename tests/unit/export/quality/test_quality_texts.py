"""The built-in texts are as varied as they are said to be."""

import unicodedata
from itertools import combinations

from export.quality.texts import pairs, texts


def test_there_are_four_hundred_different_texts() -> None:
    assert len(texts()) == 400
    assert len({text.casefold() for text in texts()}) == 400


def test_each_is_one_clean_line() -> None:
    for text in texts():
        assert text == unicodedata.normalize("NFC", text.strip())
        assert text.isprintable()
        assert "  " not in text


def test_no_two_are_variants_of_each_other() -> None:
    words = [set(text.casefold().split()) for text in texts()]
    assert max(len(a & b) / len(a | b) for a, b in combinations(words, 2)) < 0.35


def test_lengths_vary() -> None:
    counts = [len(text.split()) for text in texts()]
    assert sum(40 <= count <= 80 for count in counts) >= 30
    assert sum(count <= 3 for count in counts) >= 30
    assert max(counts) <= 80


def test_scripts_and_casing_vary() -> None:
    letters = {unicodedata.name(c).split()[0] for c in "".join(texts()) if c.isalpha()}
    assert letters >= {"LATIN", "CYRILLIC", "GREEK", "CJK", "HIRAGANA", "DEVANAGARI", "ARABIC"}
    assert sum(text.isupper() for text in texts()) >= 1
    assert sum(text[0].islower() for text in texts()) >= 30
    assert sum("?" in text for text in texts()) >= 40


def test_pairs_use_each_text_once_on_either_side() -> None:
    left, right = zip(*pairs(), strict=True)
    assert sorted(left) == sorted(right) == sorted(texts())
    assert all(a != b for a, b in pairs())
    assert pairs() == pairs.__wrapped__()
