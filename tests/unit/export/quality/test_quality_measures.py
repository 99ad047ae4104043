"""Measures against values worked out by hand."""

import math

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sklearn.metrics import (  # type: ignore[import-untyped]
    accuracy_score,
    f1_score,
    root_mean_squared_error,
)

from export.quality import spans
from export.quality.entities import entities, has_entities
from export.quality.measures import (
    ACCURACY,
    ANSWER_F1,
    ENTITY_F1,
    EXACT_MATCH,
    F1_MACRO,
    LABEL_SET_F1_MACRO,
    LABEL_SET_F1_MICRO,
    MRR,
    NDCG_AT_10,
    RMSE,
    SPEARMAN,
    TAG_ACCURACY,
    TOP_1,
    TOP_5,
    bleu,
    chrf,
    ndcg,
    reciprocal_rank,
)


def test_spearman() -> None:
    assert SPEARMAN([1, 2, 3, 4], [10, 20, 300, 4000]) == pytest.approx(1)
    assert SPEARMAN([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    # Squared rank differences 1 + 1 + 0 + 0 = 2: 1 - 6 * 2 / (4 * 15).
    assert SPEARMAN([1, 2, 3, 4], [2, 1, 3, 4]) == pytest.approx(0.8)


def test_spearman_of_what_never_varies() -> None:
    assert SPEARMAN([1, 2, 3], [5, 5, 5]) == 0
    assert math.isnan(SPEARMAN([5, 5, 5], [1, 2, 3]))


def test_rmse() -> None:
    assert RMSE([0, 0, 0, 0], [1, -1, 3, -1]) == pytest.approx(math.sqrt(12 / 4))
    assert not RMSE.higher_is_better


def test_accuracy_and_macro_f1() -> None:
    gold, answers = [0, 0, 0, 1, 2, 2], [0, 0, 1, 1, 2, 0]
    assert ACCURACY(gold, answers) == pytest.approx(4 / 6)
    # Class 0: 2 right, 3 said, 3 true; class 1: 1, 2, 1; class 2: 1, 1, 2.
    assert F1_MACRO(gold, answers) == pytest.approx((2 / 3 + 2 / 3 + 2 / 3) / 3)
    # A class that is only answered counts as 0.
    assert F1_MACRO([0, 0], [0, 1]) == pytest.approx((2 / 3 + 0) / 2)


def test_f1_of_label_sets() -> None:
    gold = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]], np.bool_)
    answers = np.array([[1, 0, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0]], np.bool_)
    # 3 right, 4 said, 4 true.
    assert LABEL_SET_F1_MICRO(gold, answers) == pytest.approx(6 / 8)
    # 1, 2/3, 0, and the last label never occurs.
    assert LABEL_SET_F1_MACRO(gold, answers) == pytest.approx((1 + 2 / 3 + 0) / 3)
    nothing = np.zeros((2, 3), np.bool_)
    assert math.isnan(LABEL_SET_F1_MICRO(nothing, nothing))


@pytest.mark.parametrize("seed", range(10))
def test_classes_and_values_are_scored_as_by_scikit_learn(seed: int) -> None:
    draw = np.random.default_rng(seed)
    # Few examples of many classes: some are only true, some only answered, some neither.
    gold, answers = draw.integers(0, 12, (2, 20))
    assert ACCURACY(gold, answers) == accuracy_score(gold, answers)
    assert F1_MACRO(gold, answers) == pytest.approx(f1_score(gold, answers, average="macro"))
    assert RMSE(gold, answers) == pytest.approx(root_mean_squared_error(gold, answers))
    true, said = draw.random((2, 6, 10)) < 0.2
    for measure, average in ((LABEL_SET_F1_MICRO, "micro"), (LABEL_SET_F1_MACRO, "macro")):
        expected = f1_score(true, said, average=average, zero_division=np.nan)
        assert measure(true, said) == pytest.approx(expected, nan_ok=True)


def test_ndcg_by_hand() -> None:
    relevance, order = np.array([0.0, 2.0, 1.0]), np.array([3.0, 2.0, 1.0])
    gained = 0 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4)
    ideal = 2 / math.log2(2) + 1 / math.log2(3)
    assert ndcg(relevance, order) == pytest.approx(gained / ideal)
    assert ndcg(relevance, relevance) == pytest.approx(1)
    # Equal scores share the mean gain, (0 + 2 + 1) / 3, of each rank.
    shared = 1 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    assert ndcg(relevance, np.zeros(3)) == pytest.approx(shared / ideal)


def test_ndcg_looks_at_ten_documents() -> None:
    relevance = np.zeros(11)
    relevance[10] = 1
    scores = -np.arange(11.0)
    assert ndcg(relevance, scores) == 0
    assert ndcg(relevance[1:], scores[1:]) == pytest.approx(1 / math.log2(11))
    assert NDCG_AT_10([relevance, relevance], [scores, -scores]) == pytest.approx(0.5)


def test_reciprocal_rank() -> None:
    relevance = np.array([0.0, 1.0, 0.0, 2.0])
    assert reciprocal_rank(relevance, np.array([4.0, 3.0, 2.0, 1.0])) == 0.5
    assert reciprocal_rank(relevance, np.array([1.0, 2.0, 3.0, 4.0])) == 1
    # All equal: both irrelevant documents come first.
    assert reciprocal_rank(relevance, np.zeros(4)) == pytest.approx(1 / 3)
    assert MRR([relevance] * 2, [np.arange(4.0), -np.arange(4.0)]) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-PER I-PER O B-LOC", {(0, 2, "PER"), (3, 4, "LOC")}),
        ("B-PER B-PER", {(0, 1, "PER"), (1, 2, "PER")}),
        ("I-PER I-PER O", {(0, 2, "PER")}),
        ("B-PER I-LOC", {(0, 1, "PER"), (1, 2, "LOC")}),
        ("O O", set()),
        ("", set()),
        ("B-PER I-PER E-PER S-LOC S-LOC", {(0, 3, "PER"), (3, 4, "LOC"), (4, 5, "LOC")}),
        ("B-PER L-PER I-PER U-PER", {(0, 2, "PER"), (2, 3, "PER"), (3, 4, "PER")}),
        ("E-PER O", {(0, 1, "PER")}),
        ("B-PER S-PER", {(0, 1, "PER"), (1, 2, "PER")}),
        ("B-A-B I-A-B", {(0, 2, "A-B")}),
    ],
)
def test_entities(tags: str, expected: set[tuple[int, int, str]]) -> None:
    assert entities(tags.split()) == expected


def test_entity_f1_counts_whole_entities() -> None:
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-ORG"]]
    answers = [["B-PER", "O", "O", "B-LOC"], ["B-ORG", "B-ORG"]]
    # 3 true, 4 said, 2 right.
    assert ENTITY_F1(gold, answers) == pytest.approx(2 * 2 / 7)
    assert TAG_ACCURACY(gold, answers) == pytest.approx(4 / 6)
    assert math.isnan(ENTITY_F1([["O"]], [["O"]]))


def test_parts_of_speech_are_no_entities() -> None:
    assert has_entities([["O", "B-PER"], ["I-PER"]])
    assert not has_entities([["NOUN", "VERB"]])
    assert not has_entities([["O"]])


def test_squad_normalisation() -> None:
    assert spans.normalise("  The  Cat's, an\tape! ") == "cats ape"
    assert spans.exact_match(["a cat", "dogs"], "The cat.") == 1
    assert spans.exact_match(["cat"], "cats") == 0


def test_squad_f1() -> None:
    # Shared: in, 1990; precision 2/3, recall 2/4.
    assert spans.overlap(["born in May 1990"], "in June 1990") == pytest.approx(4 / 7)
    assert spans.overlap(["x", "born in May 1990"], "in June 1990") == pytest.approx(4 / 7)
    assert spans.overlap(["to be to"], "to to to") == pytest.approx(2 * 2 / 6)
    assert spans.overlap(["cat"], "dog") == 0


def test_squad_questions_without_an_answer() -> None:
    assert spans.exact_match([], "") == spans.overlap([], "") == 1
    assert spans.exact_match([], "cat") == spans.overlap([], "cat") == 0
    # The official script drops accepted answers that normalise to nothing.
    assert spans.exact_match(["the"], "") == spans.overlap(["the"], "an") == 1
    assert spans.overlap(["cat"], "") == 0


def test_squad_over_questions() -> None:
    accepted = [["a cat"], ["red", "dark red"], []]
    answers = ["cat", "very red", "x"]
    assert EXACT_MATCH(accepted, answers) == pytest.approx(1 / 3)
    assert ANSWER_F1(accepted, answers) == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_candidates() -> None:
    candidates = [[" tea", "b", "c", "d", "e", "f"], ["a", "b", "c", "d", "tea"], list("abcde")]
    assert TOP_1(["tea"] * 3, candidates) == pytest.approx(1 / 3)
    assert TOP_5(["tea"] * 3, candidates) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="1 candidates, 5 are needed"):
        TOP_5(["tea"], [["tea"]])


REFERENCES = ["the cat sat on the mat today", "it rains"]
HYPOTHESES = ["the cat sat on a mat today", "it rains"]


def test_bleu_by_hand() -> None:
    # 1- to 4-grams shared of those said: 6/7 + 2/2, 4/6 + 1/1, 2/5, 1/4; lengths are equal.
    product = (8 / 9) * (5 / 7) * (2 / 5) * (1 / 4)
    assert bleu()(REFERENCES, HYPOTHESES) == pytest.approx(100 * product**0.25)
    # Half as long: the penalty exp(1 - 8/4).
    long, short = ["a b c d e f g h"], ["a b c d"]
    assert bleu()(long, short) == pytest.approx(100 * math.exp(-1))


def test_translations_are_scored_as_by_sacrebleu() -> None:
    expected = BLEU().corpus_score(HYPOTHESES, [REFERENCES]).score
    assert bleu()(REFERENCES, HYPOTHESES) == pytest.approx(expected)
    expected = CHRF().corpus_score(HYPOTHESES, [REFERENCES]).score
    assert chrf()(REFERENCES, HYPOTHESES) == pytest.approx(expected)
    assert chrf()(REFERENCES, REFERENCES) == pytest.approx(100)
    # One word a sentence for 13a, so nothing is shared; characters are.
    assert bleu("zh")(["我喜欢喝热茶"], ["我喜欢喝冷茶"]) > 30 > bleu()(["我喝热茶"], ["我喝冷茶"])


def test_chrf_by_hand() -> None:
    # "ab" for "abc" has pairs and single characters, so the mean is over these two orders:
    # precisions 2/2 and 1/1, recalls 2/3 and 1/2; beta 2 weighs recall 4 to 1.
    precision, recall = 1.0, (2 / 3 + 1 / 2) / 2
    expected = 100 * 5 * precision * recall / (4 * precision + recall)
    assert chrf()(["abc"], ["ab"]) == pytest.approx(expected)


def test_examples_and_answers_of_different_number_are_refused() -> None:
    with pytest.raises(ValueError, match="answers to"):
        SPEARMAN([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="answers to"):
        LABEL_SET_F1_MICRO(np.zeros((2, 2), np.bool_), np.zeros((2, 3), np.bool_))
    with pytest.raises(ValueError, match="zip"):
        EXACT_MATCH([["a"]], ["a", "b"])
    with pytest.raises(ValueError, match="zip"):
        TAG_ACCURACY([["O"]], [["O", "O"]])
    with pytest.raises(ValueError, match="1 translations of 2"):
        bleu()(["a", "b"], ["a"])
