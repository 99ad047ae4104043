"""From what a model answers to what a measure reads: similarities, classes, sets of labels.

Numbers that are not finite are refused by name: an argmax over NaN is a class like any other.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from export.errors import ParityBroken

Array = NDArray[np.floating]
Vector = NDArray[np.floating]
"""One axis."""


def cosine(left: Array, right: Array) -> NDArray[np.float64]:
    """Return the cosine along the last axis, in [-1, 1]; a zero vector is like nothing: 0.

    The other axes broadcast: a query (dimensions) goes with documents (documents, dimensions).
    """
    lengths = np.linalg.norm(left.astype(np.float64), axis=-1) * np.linalg.norm(
        right.astype(np.float64), axis=-1
    )
    products = dot(left, right)
    quotients = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    return np.asarray(np.clip(quotients, -1, 1), np.float64)


def dot(left: Array, right: Array) -> NDArray[np.float64]:
    """Return the scalar product along the last axis, which is how sparse vectors are compared."""
    products = np.einsum("...d,...d->...", left.astype(np.float64), right.astype(np.float64))
    return np.asarray(products, np.float64)


def most_likely(logits: Array) -> NDArray[np.int64]:
    """Return the class of each row of (rows, classes)."""
    return np.asarray(np.argmax(logits, axis=-1), np.int64)


def chosen(logits: Array, thresholds: Sequence[float] = ()) -> NDArray[np.bool_]:
    """Return which labels reach their probability, one threshold a label; none means 0.5 each."""
    least = np.asarray(thresholds or [0.5] * logits.shape[-1], np.float64)
    # Where the sigmoid reaches t the logit reaches log(t / (1 - t)): no rounding near 0 and 1.
    with np.errstate(divide="ignore"):
        return np.asarray(logits >= np.log(least) - np.log1p(-least), np.bool_)


def require_finite(reference: Iterable[Array], bundle: Iterable[Array]) -> None:
    """Check the answers of both systems, one array for each example or row.

    Raises:
        ParityBroken: names the system and the first example with NaN or infinity.
    """
    for system, answers in (("PyTorch", reference), ("the bundle", bundle)):
        for row, answer in enumerate(answers):
            if not np.isfinite(answer).all():
                raise ParityBroken(f"{system} answers NaN or infinity for example {row + 1}")
