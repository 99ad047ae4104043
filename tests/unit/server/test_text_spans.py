"""Labels of tokens to spans of text."""

import numpy as np
import pytest

from server.text.spans import Aggregation, Tagger, Tokens, continues

BIO = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
NOTHING: frozenset[str] = frozenset()
OUTSIDE = frozenset({"O"})


def tokens(labels: tuple[str, ...], tags: list[str], continued: list[bool] | None = None) -> Tokens:
    """Return tokens of three characters, each with 0.8 for its tag."""
    scores = np.full((len(tags), len(labels)), 0.2 / (len(labels) - 1))
    for row, tag in enumerate(tags):
        scores[row, labels.index(tag)] = 0.8
    offsets = [(4 * place, 4 * place + 3) for place in range(len(tags))]
    return Tokens(scores, offsets, continued or [False] * len(tags))


def read(labels: tuple[str, ...], tags: list[str]) -> list[tuple[str, int, int]]:
    found = Tagger(labels).spans(tokens(labels, tags), Aggregation.SIMPLE, OUTSIDE)
    return [(span.label, span.start // 4, span.end // 4) for span in found]


def test_bio_spans_begin_with_b_and_go_on_with_i() -> None:
    tags = ["B-PER", "I-PER", "O", "B-LOC", "B-LOC", "I-LOC"]

    assert read(BIO, tags) == [("PER", 0, 1), ("LOC", 3, 3), ("LOC", 4, 5)]


def test_another_kind_begins_a_span_without_b() -> None:
    assert read(BIO, ["I-PER", "I-LOC", "I-LOC"]) == [("PER", 0, 0), ("LOC", 1, 2)]


def test_plain_labels_group_by_equality() -> None:
    labels = ("O", "PER", "E-commerce")

    assert read(labels, ["PER", "PER", "E-commerce", "E-commerce"]) == [
        ("PER", 0, 1),
        ("E-commerce", 2, 3),
    ]


@pytest.mark.parametrize(("end", "single"), [("E", "S"), ("L", "U")])
def test_ends_and_singles_close_a_span(end: str, single: str) -> None:
    labels = ("O", "B-X", "I-X", f"{end}-X", f"{single}-X")
    tags = ["B-X", "I-X", f"{end}-X", "I-X", f"{single}-X", f"{single}-X", "I-X"]

    assert read(labels, tags) == [("X", 0, 2), ("X", 3, 3), ("X", 4, 4), ("X", 5, 5), ("X", 6, 6)]


def test_score_of_a_span_is_the_mean_of_its_tokens() -> None:
    given = tokens(BIO, ["B-PER", "I-PER"])
    given.scores[1, 2] = 0.6

    (span,) = Tagger(BIO).spans(given, Aggregation.SIMPLE, OUTSIDE)

    assert span.score == pytest.approx(0.7)


def test_words_speak_with_one_voice() -> None:
    labels = ("O", "A", "B")
    scores = np.array([[0.1, 0.5, 0.4], [0.1, 0.2, 0.7], [0.3, 0.4, 0.3]])
    given = Tokens(scores, [(0, 2), (2, 4), (5, 6)], [False, True, False])

    def first_word(aggregation: Aggregation) -> tuple[str, float, int]:
        span = Tagger(labels).spans(given, aggregation, NOTHING)[0]
        return span.label, round(span.score, 3), span.end

    # With FIRST the words agree and become one span, whose score is the mean of theirs.
    assert first_word(Aggregation.FIRST) == ("A", 0.45, 6)
    assert first_word(Aggregation.MAX) == ("B", 0.7, 4)
    assert first_word(Aggregation.AVERAGE) == ("B", 0.55, 4)
    assert first_word(Aggregation.NONE) == ("A", 0.5, 2)


def test_none_keeps_labels_as_the_model_writes_them() -> None:
    found = Tagger(BIO).spans(tokens(BIO, ["B-PER", "O"]), Aggregation.NONE, NOTHING)

    assert [span.label for span in found] == ["B-PER", "O"]


def test_no_tokens_have_no_spans() -> None:
    given = Tokens(np.zeros((0, 3)), [], [])

    assert Tagger(BIO).spans(given, Aggregation.FIRST, OUTSIDE) == []


def test_longer_pieces_continue_words_where_the_vocabulary_marks_them() -> None:
    offsets = [(0, 3), (3, 6), (7, 9)]

    found = continues(
        "embedd ok", ["emb", "##edd", "[UNK]"], offsets, "[UNK]", marks_continuation=True
    )

    assert found == [False, True, False]


def test_words_end_at_white_space_otherwise() -> None:
    text = "so long\nagain"
    offsets = [(0, 2), (2, 5), (5, 7), (8, 13)]

    found = continues(text, ["so", "Ġlo", "ng", "again"], offsets, None, marks_continuation=False)

    assert found == [False, False, True, False]
