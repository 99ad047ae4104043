"""Two systems side by side: figures by hand, and answers that are not numbers refused."""

import msgspec
import numpy as np
import pytest

from export.errors import ParityBroken
from export.quality.answers import chosen, cosine, dot, most_likely
from export.quality.compare import (
    Comparison,
    compare_answers,
    compare_candidates,
    compare_classes,
    compare_label_sets,
    compare_pairs,
    compare_rankings,
    compare_tags,
    compare_translations,
    compare_values,
)


def logits_of(classes: list[int], count: int = 3) -> np.typing.NDArray[np.float32]:
    return np.eye(count, dtype=np.float32)[classes]


def test_a_comparison_says_how_much_is_lost() -> None:
    gold = [0, 1] * 50
    worse = [0, 1] * 40 + [1, 1] * 10
    accuracy, f1 = compare_classes(gold, logits_of(gold), logits_of(worse))
    assert (accuracy.measure, f1.measure) == ("accuracy", "F1 macro")
    assert (accuracy.reference, accuracy.bundle, accuracy.n) == (1.0, 0.9, 100)
    assert accuracy.difference == pytest.approx(-0.1)
    assert accuracy.loss == pytest.approx(0.1)
    assert accuracy.low < -0.1 < accuracy.high < 0
    assert accuracy.reference_interval == (1, 1)
    assert accuracy.bundle_interval == pytest.approx((1 + accuracy.low, 1 + accuracy.high))


def test_an_error_measure_is_lost_upwards() -> None:
    gold = [float(score) for score in range(20)]
    answers = np.array(gold)
    spearman, rmse = compare_values(gold, answers, answers + 0.5)
    assert (spearman.difference, spearman.loss) == (0, 0)
    assert (rmse.reference, rmse.bundle) == pytest.approx((0, 0.5))
    assert rmse.loss == rmse.difference == pytest.approx(0.5)
    assert not rmse.higher_is_better


def test_a_comparison_can_be_written() -> None:
    (comparison,) = compare_pairs([1, 2, 3, 4], np.arange(4.0), np.array([1.0, 0.0, 2.0, 3.0]))
    assert comparison.bundle == pytest.approx(0.8)
    assert msgspec.json.decode(msgspec.json.encode(comparison), type=Comparison) == comparison


def test_rankings() -> None:
    relevance = [(0, 1), (1, 0)]
    right = [np.array([0.0, 1.0]), np.array([1.0, 0.0])]
    wrong = [right[0], -right[1]]
    found = {c.measure: (c.reference, c.bundle) for c in compare_rankings(relevance, right, wrong)}
    assert found["nDCG@10"] == pytest.approx((1, (1 + 1 / np.log2(3)) / 2))
    assert found["MRR"] == pytest.approx((1, 0.75))


def test_label_sets() -> None:
    sets = np.array([[True, False], [False, True]] * 5)
    right = np.where(sets, 2.0, -2.0)
    micro, macro = compare_label_sets(sets, right, right - 1.5)
    assert (micro.bundle, macro.bundle) == (1, 1)
    micro, macro = compare_label_sets(sets, right, right - 1.5, thresholds=(0.5, 0.7))
    # The second label now needs a logit of 0.85: 5 right of 5 said and 10 true.
    assert (micro.bundle, macro.bundle) == pytest.approx((2 / 3, 0.5))


def test_tags() -> None:
    gold = [["B-PER", "O"], ["O", "O"]] * 5
    lost = [["O", "O"], ["O", "O"]] * 5
    f1, accuracy = compare_tags(gold, gold, lost)
    assert (f1.measure, f1.reference, f1.bundle) == ("entity F1", 1, 0)
    assert (accuracy.measure, accuracy.reference, accuracy.bundle) == ("tag accuracy", 1, 0.75)
    assert [c.measure for c in compare_tags([["NOUN"]] * 2, [["NOUN"]] * 2, [["X"]] * 2)] == [
        "tag accuracy"
    ]


def test_answers_candidates_and_translations() -> None:
    found = compare_answers([["a cat"], ["red"]], ["cat", "red"], ["cat", "dark red"])
    assert [(c.measure, c.reference) for c in found] == [("exact match", 1), ("answer F1", 1)]
    assert [c.bundle for c in found] == [0.5, pytest.approx((1 + 2 / 3) / 2)]

    first, later = list("abcde"), list("bacde")
    found = compare_candidates(["a", "a"], [first, first], [first, later])
    assert [(c.measure, c.reference, c.bundle) for c in found] == [
        ("top-1 accuracy", 1, 0.5),
        ("top-5 accuracy", 1, 1),
    ]

    texts = ["it has been raining all day", "the cat sleeps on the roof"]
    bleu, chrf = compare_translations(texts, texts, [texts[0], texts[0]])
    assert (bleu.measure, chrf.measure) == ("BLEU", "chrF")
    assert (bleu.reference, chrf.reference) == pytest.approx((100, 100))
    assert bleu.bundle < 70
    assert chrf.bundle < 70


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_answers_that_are_no_numbers_are_refused(bad: float) -> None:
    good = np.array([1.0, 2.0, 3.0])
    broken = np.array([1.0, bad, 3.0])
    with pytest.raises(ParityBroken, match="the bundle answers NaN or infinity for example 2"):
        compare_pairs([1, 2, 3], good, broken)
    with pytest.raises(ParityBroken, match="PyTorch answers NaN"):
        compare_values([1, 2, 3], broken, good)
    with pytest.raises(ParityBroken, match="example 3"):
        compare_rankings([(0, 1)] * 3, [good[:2]] * 3, [good[:2], good[:2], broken[:2]])
    with pytest.raises(ParityBroken, match="example 1"):
        compare_classes([0], good[None], broken[None])
    with pytest.raises(ParityBroken, match="example 1"):
        compare_label_sets(np.ones((1, 3), np.bool_), good[None], broken[None])


def test_similarities() -> None:
    query = np.array([3.0, 4.0], np.float32)
    documents = np.array([[6, 8], [-3, -4], [4, -3], [0, 0]], np.float32)
    assert cosine(query, documents) == pytest.approx([1, -1, 0, 0])
    assert cosine(documents[:2], documents[1:3]) == pytest.approx([-1, 0])
    assert dot(query, documents) == pytest.approx([50, -25, 0, 0])


def test_classes_and_labels() -> None:
    assert most_likely(np.array([[0, 2, 1], [5, 2, 1]], np.float32)).tolist() == [1, 0]
    logits = np.array([[0.0, -0.1, 30.0]])
    assert chosen(logits).tolist() == [[True, False, True]]
    assert chosen(logits, (0.6, 0.4, 1.0)).tolist() == [[False, True, False]]
    assert chosen(logits, (0.0, 0.0, 0.0)).all()
