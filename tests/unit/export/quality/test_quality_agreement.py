"""Agreement without labels: figures by hand and the ends of each scale."""

import numpy as np
import pytest

from export.errors import ParityBroken
from export.quality import agreement

VECTORS = np.random.default_rng(5).normal(size=(40, 16)).astype(np.float32)


def test_equal_vectors_agree_wholly() -> None:
    found = agreement.vectors(VECTORS, VECTORS.copy())
    assert found.cosine_mean == pytest.approx(1)
    assert found.cosine_worst == pytest.approx(1)
    assert found.spearman == pytest.approx(1)
    assert found.correlation == pytest.approx(1)
    assert (found.n, found.max_abs_difference) == (40, 0)


def test_one_bad_vector_is_found() -> None:
    bundle = VECTORS.copy()
    bundle[7] *= -1
    found = agreement.vectors(VECTORS, bundle)
    assert found.worst == 7
    assert found.cosine_worst == pytest.approx(-1)
    assert found.cosine_mean == pytest.approx(38 / 40)
    # A hundredth of the way through 39 steps: between the worst and the next.
    assert found.cosine_p1 == pytest.approx(-1 + 2 * 0.39)
    assert found.max_abs_difference == pytest.approx(2 * np.abs(VECTORS[7]).max())
    assert 0.8 < found.spearman < 0.99


def test_similarities_of_pairs_may_be_in_the_opposite_order() -> None:
    def spread(*degrees: float) -> np.typing.NDArray[np.float64]:
        angles = np.radians(degrees)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)

    # Angles of the pairs 1-2, 1-3 and 2-3: 10, 50, 40 against 40, 10, 30. Ranks 1, 3, 2 against
    # 3, 1, 2.
    found = agreement.vectors(spread(0, 10, 50), spread(0, 40, 10))
    assert found.spearman == pytest.approx(-1)


def test_lengths_matter_to_numbers_but_not_to_directions() -> None:
    found = agreement.vectors(VECTORS, 2 * VECTORS)
    assert found.cosine_worst == pytest.approx(1)
    assert found.spearman == pytest.approx(1)
    assert found.max_abs_difference == pytest.approx(np.abs(VECTORS).max())


def test_an_empty_sparse_vector_agrees_with_itself_only() -> None:
    reference, bundle = VECTORS.copy(), VECTORS.copy()
    reference[0] = bundle[0] = reference[1] = 0
    found = agreement.vectors(reference, bundle)
    assert (found.worst, found.cosine_worst) == (1, 0)
    assert found.cosine_mean == pytest.approx(39 / 40)


def test_half_precision_is_compared_in_full() -> None:
    found = agreement.vectors(VECTORS, VECTORS.astype(np.float16))
    assert 0 < found.max_abs_difference < 2e-3
    assert found.cosine_worst > 0.999999


def test_scores() -> None:
    found = agreement.scores(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 1.0, 3.0, 4.0]))
    assert (found.n, found.max_abs_difference) == (4, 1)
    assert found.spearman == pytest.approx(0.8)
    assert found.correlation == pytest.approx(0.8)


def test_scores_that_never_vary() -> None:
    same = np.ones(3)
    assert agreement.scores(same, same.copy()).correlation == 1
    assert agreement.scores(same, same + 1).spearman == 0
    assert agreement.scores(same, np.arange(3.0)).correlation == 0


def test_classes() -> None:
    reference = np.array([[3.0, 1.0], [0.0, 1.0], [2.0, 0.0], [0.0, 5.0]])
    bundle = reference.copy()
    bundle[2] = (0.0, 0.5)
    found = agreement.classes(reference, bundle)
    assert (found.n, found.same, found.max_abs_difference) == (4, 0.75, 2)


def test_tokens_and_places_come_one_text_at_a_time() -> None:
    tokens = [np.eye(3)[:2], np.eye(3)]
    turned = [tokens[0], np.eye(3)[::-1].copy()]
    found = agreement.classes(tokens, turned)
    assert (found.n, found.same, found.max_abs_difference) == (5, 3 / 5, 1)
    places = [np.array([0.0, 4.0, 1.0]), np.array([2.0, 1.0])]
    found = agreement.classes(places, [places[0], np.array([1.0, 2.0])])
    assert (found.n, found.same) == (2, 0.5)


def test_label_sets() -> None:
    reference = np.array([[1.0, -1.0, 0.2], [0.5, 2.0, -3.0]])
    found = agreement.label_sets(reference, reference - 0.3)
    assert (found.n, found.same) == pytest.approx((6, 5 / 6))
    # No logit crosses that of a probability of 0.9.
    assert agreement.label_sets(reference, reference - 0.3, (0.9, 0.7, 0.9)).same == 1


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="shapes"):
        agreement.vectors(VECTORS, VECTORS[:, :8])
    with pytest.raises(ValueError, match="1 texts"):
        agreement.vectors(VECTORS[:1], VECTORS[:1])
    with pytest.raises(ValueError, match="shapes"):
        agreement.classes([np.zeros(3)], [np.zeros(4)])
    broken = VECTORS.copy()
    broken[4, 2] = np.nan
    with pytest.raises(ParityBroken, match="the bundle answers NaN or infinity for example 5"):
        agreement.vectors(VECTORS, broken)
    with pytest.raises(ParityBroken, match="PyTorch answers NaN or infinity for example 5"):
        agreement.classes(broken, VECTORS)
