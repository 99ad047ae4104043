"""How closely two systems answer alike, without knowing the right answer.

For a check that needs no labels: the same texts through PyTorch and the bundle, arrays in, figures
out. Agreement says nothing of how good either system is. Answers that are not numbers raise
`ParityBroken`.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr  # type: ignore[import-untyped]

from export.quality.answers import Array, Vector, chosen, cosine, most_likely, require_finite

MAX_TEXTS = 4096
"""Of the comparison of all pairs: their number grows with the square."""


class VectorAgreement(msgspec.Struct, frozen=True):
    """Embeddings of the same texts."""

    n: int
    """Texts."""
    cosine_mean: float
    """Of each text's two vectors, in [-1, 1]; 1 is the same direction."""
    cosine_p1: float
    """99 of 100 texts have at least this."""
    cosine_worst: float
    worst: int
    """Index of the worst text."""
    spearman: float
    """Of the similarities of all pairs of texts, in [-1, 1]: 1 is the same order everywhere."""
    max_abs_difference: float
    """Between any two numbers."""
    correlation: float
    """Pearson's of all numbers, in [-1, 1]."""


class ScoreAgreement(msgspec.Struct, frozen=True):
    """One number for each text: relevance, a predicted value."""

    n: int
    spearman: float
    """Of the scores, in [-1, 1]."""
    max_abs_difference: float
    correlation: float


class DecisionAgreement(msgspec.Struct, frozen=True):
    """Logits and what is decided by them: classes, tags, places, labels."""

    n: int
    """Decisions."""
    same: float
    """Share of the decisions that fall alike, in [0, 1]."""
    max_abs_difference: float
    correlation: float


def vectors(reference: Array, bundle: Array) -> VectorAgreement:
    """Compare embeddings, shape (texts, dimensions), of two texts or more."""
    _require_alike(reference, bundle)
    if not 2 <= len(reference) <= MAX_TEXTS:  # noqa: PLR2004 - one text makes no pair
        raise ValueError(f"{len(reference)} texts; pairs are compared of 2 to {MAX_TEXTS}")
    cosines = cosine(reference, bundle)
    # A sparse vector of nothing agrees with itself.
    cosines[~reference.any(axis=1) & ~bundle.any(axis=1)] = 1.0
    pairs = np.triu_indices(len(reference), k=1)
    return VectorAgreement(
        n=len(reference),
        cosine_mean=float(cosines.mean()),
        cosine_p1=float(np.quantile(cosines, 0.01)),
        cosine_worst=float(cosines.min()),
        worst=int(cosines.argmin()),
        spearman=_rank_correlation(_similarities(reference)[pairs], _similarities(bundle)[pairs]),
        max_abs_difference=_largest(reference, bundle),
        correlation=_correlation(reference, bundle),
    )


def scores(reference: Vector, bundle: Vector) -> ScoreAgreement:
    """Compare scores, shape (texts,)."""
    _require_alike(reference, bundle)
    return ScoreAgreement(
        n=len(reference),
        spearman=_rank_correlation(reference, bundle),
        max_abs_difference=_largest(reference, bundle),
        correlation=_correlation(reference, bundle),
    )


def classes(
    reference: Sequence[Array] | Array, bundle: Sequence[Array] | Array
) -> DecisionAgreement:
    """Compare the likeliest class of every row of logits.

    Takes (texts, names) for a classifier; for tokens one (tokens, names) a text; for the places
    where answers start, or end, one (tokens,) a text.
    """
    require_finite(reference, bundle)
    same, before, after = [], [], []
    for left, right in zip(reference, bundle, strict=True):
        _require_same_shape(left, right)
        same.append(np.atleast_1d(most_likely(left) == most_likely(right)))
        before.append(left.ravel())
        after.append(right.ravel())
    return _decisions(np.concatenate(same), np.concatenate(before), np.concatenate(after))


def label_sets(
    reference: Array, bundle: Array, thresholds: Sequence[float] = ()
) -> DecisionAgreement:
    """Compare every yes or no of a classifier of many labels, logits (texts, names)."""
    _require_alike(reference, bundle)
    same = chosen(reference, thresholds) == chosen(bundle, thresholds)
    return _decisions(same, reference, bundle)


def _decisions(same: NDArray[np.bool_], reference: Array, bundle: Array) -> DecisionAgreement:
    return DecisionAgreement(
        n=same.size,
        same=float(same.mean()),
        max_abs_difference=_largest(reference, bundle),
        correlation=_correlation(reference, bundle),
    )


def _require_alike(reference: Array, bundle: Array) -> None:
    _require_same_shape(reference, bundle)
    require_finite(reference, bundle)


def _require_same_shape(reference: Array, bundle: Array) -> None:
    if reference.shape != bundle.shape:
        raise ValueError(f"shapes {reference.shape} and {bundle.shape} cannot be compared")


def _similarities(rows: Array) -> NDArray[np.float64]:
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    unit = np.divide(rows, lengths, out=np.zeros(rows.shape), where=lengths > 0)
    return np.asarray(unit @ unit.T, np.float64)


def _largest(reference: Array, bundle: Array) -> float:
    return float(np.max(np.abs(reference.astype(np.float64) - bundle)))


def _rank_correlation(reference: Vector, bundle: Vector) -> float:
    # Of what never varies there is no correlation: alike is alike, anything else unrelated.
    if np.ptp(reference) == 0 or np.ptp(bundle) == 0:
        return float(np.array_equal(reference, bundle))
    return float(spearmanr(reference, bundle).statistic)


def _correlation(reference: Array, bundle: Array) -> float:
    if np.ptp(reference) == 0 or np.ptp(bundle) == 0:
        return float(np.array_equal(reference, bundle))
    pair = np.corrcoef(reference.ravel().astype(np.float64), bundle.ravel().astype(np.float64))
    return float(pair[0, 1])
