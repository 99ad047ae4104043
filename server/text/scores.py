"""Logits to scores: stable for any finite logits.

Pure NumPy, in float64, because the sums of float32 exponentials over a vocabulary lose digits.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating[Any]]
Scores = NDArray[np.float64]
Places = NDArray[np.intp]
LabelKind = Literal["single", "multi", "regression"]
"""Labels that exclude each other, labels that do not, or values; as in the manifest."""

DEFAULT_THRESHOLD = 0.5
"""Probability from which an independent label holds, where the model names none."""


class VectorSimilarity(Enum):
    """How two vectors are compared."""

    COSINE = "cosine"
    DOT = "dot"


def softmax(logits: Values, *, temperature: float = 1.0) -> Scores:
    """Return probabilities over the last axis, of logits divided by a temperature above 0."""
    wide = logits.astype(np.float64)
    # Differences first: dividing by a tiny temperature may overflow to -inf, whose exponent is 0.
    wide -= wide.max(axis=-1, keepdims=True)
    with np.errstate(over="ignore", under="ignore"):
        exponents = np.exp(wide / temperature)
    return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True))


def sigmoid(logits: Values) -> Scores:
    """Return 1 / (1 + exp(-x)) of each."""
    # One exponent of nothing positive, which cannot overflow, serves both signs.
    with np.errstate(under="ignore"):
        small = np.exp(-np.abs(logits.astype(np.float64)))
    return np.asarray(np.where(logits >= 0, 1.0, small) / (1.0 + small))


def best(scores: Values, most: int | None = None) -> Places:
    """Return the places of the `most` largest values, falling; of equal values the first first."""
    if most is not None and most < len(scores):
        # Of a whole vocabulary a few are wanted: what reaches the last of them is sorted.
        last = np.partition(scores, len(scores) - most)[len(scores) - most]
        found = np.flatnonzero(scores >= last)
        return np.asarray(found[np.argsort(-scores[found], kind="stable")][:most])
    return np.argsort(-scores, kind="stable")


def relevance(logits: Values, kind: LabelKind) -> float:
    """Return the score of a document, the higher the more relevant.

    One label: its logit. Several that exclude each other: the logarithm of the probability of the
    last, which is "relevant" where there are two (Nogueira and Cho, 2019) and the highest grade
    where there are more. Several otherwise: the logit of the last.
    """
    last = float(logits[-1])
    if len(logits) == 1 or kind != "single":
        return last
    return last - float(np.logaddexp.reduce(logits.astype(np.float64)))


def relevance_probability(raw: Scores, kind: LabelKind, num_labels: int) -> Scores:
    """Return what `relevance` says as probabilities."""
    if num_labels > 1 and kind == "single":
        with np.errstate(under="ignore"):
            return np.exp(raw)
    return sigmoid(raw)


def label_scores(logits: Values, kind: LabelKind) -> Scores:
    """Return probabilities of labels that exclude each other or not, or the values themselves."""
    match kind:
        case "single":
            return softmax(logits)
        case "multi":
            return sigmoid(logits)
        case "regression":
            return logits.astype(np.float64)


def labels_that_hold(
    scores: Scores, kind: LabelKind, thresholds: float | Sequence[float] = ()
) -> NDArray[np.bool_]:
    """Return which labels hold: the likeliest, or all that reach their threshold.

    `thresholds` is one for all labels or one for each; none means 0.5.
    """
    match kind:
        case "single":
            return np.asarray(np.arange(len(scores)) == scores.argmax())
        case "multi":
            reached: NDArray[np.bool_] = scores >= (
                DEFAULT_THRESHOLD if thresholds == () else thresholds
            )
            return reached
        case "regression":
            return np.zeros(len(scores), np.bool_)


def similarities(left: Sequence[Values], right: Sequence[Values], by: VectorSimilarity) -> Scores:
    """Compare vectors pairwise.

    The cosine of a vector of zeros is 0.
    """
    first, second = np.stack(left).astype(np.float64), np.stack(right).astype(np.float64)
    products: Scores = np.einsum("ij,ij->i", first, second)
    if by is VectorSimilarity.DOT:
        return products
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosines = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    return np.asarray(cosines.clip(-1.0, 1.0))
