"""Scores stay probabilities for any finite logits."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from server.text.answers import best_spans
from server.text.scores import VectorSimilarity, best, sigmoid, similarities, softmax

LOGITS = arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e4, 1e4, width=32))
PROBABILITIES = arrays(np.float64, st.integers(1, 24), elements=st.floats(0, 1))


@given(LOGITS, st.floats(1e-6, 1e6))
def test_softmax_is_a_distribution(logits: NDArray[np.float32], temperature: float) -> None:
    scores = softmax(logits, temperature=temperature)

    assert np.isfinite(scores).all()
    assert scores.min() >= 0
    np.testing.assert_allclose(scores.sum(), 1, rtol=1e-9)
    assert scores[logits.argmax()] == scores.max()


@given(LOGITS)
def test_sigmoid_lies_within_its_bounds_and_keeps_the_order(logits: NDArray[np.float32]) -> None:
    scores = sigmoid(np.sort(logits))

    assert ((scores >= 0) & (scores <= 1)).all()
    assert (np.diff(scores) >= 0).all()


@given(LOGITS, st.integers(1, 50))
def test_best_are_the_first_of_a_stable_sort(logits: NDArray[np.float32], most: int) -> None:
    expected = sorted(range(len(logits)), key=lambda place: (-logits[place], place))

    assert best(logits, most).tolist() == expected[:most]


@given(LOGITS)
def test_cosine_lies_within_its_bounds(logits: NDArray[np.float32]) -> None:
    pair = [logits], [logits[::-1]]

    (score,) = similarities(*pair, VectorSimilarity.COSINE)

    assert -1 <= score <= 1


@given(PROBABILITIES, st.integers(1, 30), st.integers(1, 5), st.randoms(use_true_random=False))
def test_best_spans_are_those_of_every_span_tried(
    start: NDArray[np.float64], longest: int, most: int, random: object
) -> None:
    end = start.copy()
    np.random.default_rng(hash(random) % 2**32).shuffle(end)
    every = sorted(
        (
            (-float(start[first] * end[last]), first, last)
            for first in range(len(start))
            for last in range(first, min(first + longest, len(start)))
        ),
    )

    found = best_spans(start, end, longest, most)

    assert [(-score, first, last) for first, last, score in found] == every[:most]
