"""Logits to scores."""

import numpy as np
import pytest

from server.text.pooling import sparse
from server.text.scores import (
    VectorSimilarity,
    best,
    label_scores,
    labels_that_hold,
    relevance,
    relevance_probability,
    sigmoid,
    similarities,
    softmax,
)

LOGITS = np.array([1.0, 3.0, 2.0], np.float32)


def test_softmax_is_over_the_last_axis() -> None:
    scores = softmax(np.stack([LOGITS, -LOGITS]))

    np.testing.assert_allclose(scores[0], np.exp(LOGITS) / np.exp(LOGITS).sum(), rtol=1e-6)
    np.testing.assert_allclose(scores.sum(axis=-1), [1, 1])


def test_temperature_sharpens_and_flattens() -> None:
    sharp, flat = softmax(LOGITS, temperature=1e-300), softmax(LOGITS, temperature=1e300)

    np.testing.assert_array_equal(sharp, [0, 1, 0])
    np.testing.assert_allclose(flat, [1 / 3] * 3)


def test_best_falls_and_breaks_ties_by_place() -> None:
    scores = np.array([0.1, 0.5, 0.5, 0.9, 0.5])

    assert best(scores).tolist() == [3, 1, 2, 4, 0]
    assert best(scores, 2).tolist() == [3, 1]
    assert best(scores, 9).tolist() == [3, 1, 2, 4, 0]


def test_labels_score_by_their_kind() -> None:
    np.testing.assert_allclose(label_scores(LOGITS, "single"), softmax(LOGITS))
    np.testing.assert_allclose(label_scores(LOGITS, "multi"), 1 / (1 + np.exp(-LOGITS)), rtol=1e-6)
    np.testing.assert_array_equal(label_scores(LOGITS, "regression"), LOGITS)


@pytest.mark.parametrize(
    ("kind", "thresholds", "expected"),
    [
        ("single", (), [False, True, False]),
        ("multi", (), [False, True, True]),
        ("multi", (0.1, 0.9, 0.5), [True, False, True]),
        ("multi", 0.0, [True, True, True]),
        ("regression", (), [False, False, False]),
    ],
)
def test_labels_hold_by_their_kind(
    kind: str, thresholds: tuple[float, ...] | float, expected: list[bool]
) -> None:
    scores = np.array([0.2, 0.8, 0.5])

    assert labels_that_hold(scores, kind, thresholds).tolist() == expected  # type: ignore[arg-type]  # a parameter


def test_probability_of_relevance_is_that_of_the_last_exclusive_label() -> None:
    raw = np.array([relevance(LOGITS, "single")])

    np.testing.assert_allclose(relevance_probability(raw, "single", 3), softmax(LOGITS)[-1:])


def test_probability_of_one_logit_is_its_sigmoid() -> None:
    raw = np.array([relevance(LOGITS[:1], "multi")])

    np.testing.assert_allclose(relevance_probability(raw, "multi", 1), sigmoid(LOGITS[:1]))


def test_cosine_ignores_lengths_and_dot_does_not() -> None:
    left, right = [np.array([3.0, 4.0])] * 2, [np.array([6.0, 8.0]), np.array([4.0, -3.0])]

    np.testing.assert_allclose(similarities(left, right, VectorSimilarity.COSINE), [1, 0])
    np.testing.assert_allclose(similarities(left, right, VectorSimilarity.DOT), [50, 0])


def test_vector_of_zeros_is_like_nothing() -> None:
    found = similarities([np.zeros(2)], [np.ones(2)], VectorSimilarity.COSINE)

    assert found.tolist() == [0]


def test_sparse_keeps_what_is_not_zero() -> None:
    indices, values = sparse(np.array([0, 0.5, 0, 2], np.float32))

    assert (indices.tolist(), values.tolist()) == ([1, 3], [0.5, 2])
