"""The check without a file: how alike PyTorch and a session answer the built-in texts.

Says nothing of how good either is; that takes a file of examples and `prepared`.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from export.evaluation.answer import Answer, ask, is_finite, require_finite
from export.graph.heads import SENTENCE_EMBEDDING, SPARSE_EMBEDDING
from export.proof.case import Case
from export.quality.answers import cosine
from server.repository.manifest import Labels, Quality
from server.runtime.session import Session

Vectors = NDArray[np.float32]
Both = tuple[list[Vectors], list[Vectors]]
"""PyTorch's answers and the bundle's, one each a text."""

_MOST_NUMBERS = 2**24
"""Of one output, compared at once in double precision: logits over a large vocabulary are many."""

_DECISIONS = {"logits": "decision", "start_logits": "start", "end_logits": "end"}
"""Outputs whose largest number decides -> what it decides."""


def agreement(
    samples: Sequence[Case], session: Session, labels: Labels | None = None
) -> tuple[Quality, ...]:
    """Return how alike the answers to single inputs are, none without samples.

    `samples` hold one input each with PyTorch's answers, `labels` what the logits of a classifier
    mean. Vectors: cosine of each text's two, and the order of the similarities of all pairs.
    Logits: share of equal decisions, and correlation. One number a text: its order and correlation.

    Raises:
        ParityBroken: NaN or infinity where numbers should be.
    """
    return tuple(
        quality
        for name, both in _answers(samples, session).items()
        for quality in measure(name, both, labels)
    )


def loss(samples: Sequence[Case], session: Session) -> float:
    """Return the mean of 1 - cosine to PyTorch over the samples: 0 is the same, 2 the opposite.

    The numbers of all outputs to one input count as one vector. Where that is a single number, a
    score, the scores of all inputs do: a number alone has a sign and no direction. Infinite where
    the session answers with something else than numbers, which no budget allows.
    """
    if not samples:
        raise ValueError("no samples to measure the loss on")
    before, after = [], []
    for case in samples:
        found = ask(session, case.feeds)
        if not is_finite(found):
            return float("inf")
        before.append(_joined(case.expected, case.expected))
        after.append(_joined(found, case.expected))
    if before[0].size == 1:
        before, after = [np.concatenate(before)], [np.concatenate(after)]
    return 1 - float(np.mean([_cosine(*pair) for pair in zip(before, after, strict=True)]))


def _answers(samples: Sequence[Case], session: Session) -> dict[str, Both]:
    collected: dict[str, Both] = {}
    sizes: dict[str, int] = {}
    for number, case in enumerate(samples, start=1):
        found = ask(session, case.feeds)
        require_finite("PyTorch", f"built-in text {number}", case.expected)
        require_finite("the bundle", f"built-in text {number}", found)
        for name, expected in case.expected.items():
            sizes[name] = sizes.get(name, 0) + expected.size
            before, after = collected.setdefault(name, ([], []))
            # Whatever its size, one text is compared.
            if not before or sizes[name] <= _MOST_NUMBERS:
                before.append(expected)
                after.append(found[name])
    return collected


def measure(name: str, both: Both, labels: Labels | None) -> Iterator[Quality]:
    """Yield how alike two models' answers of one output are, whatever kind of numbers they are."""
    before, after = both
    if before[0].size == 1:
        yield from _scores(name, before, after)
    elif name in {SENTENCE_EMBEDDING, SPARSE_EMBEDDING}:
        yield from _vectors(before, after)
    elif name in _DECISIONS:
        yield from _decisions(name, before, after, labels)
    else:
        cosines = np.array([_cosine(*pair) for pair in zip(before, after, strict=True)])
        yield _quality(f"mean cosine of {name}", cosines.mean(), len(cosines))
        yield _quality(f"worst cosine of {name}", cosines.min(), len(cosines))


def _vectors(before: list[Vectors], after: list[Vectors]) -> Iterator[Quality]:
    # Brings SciPy, as below: a second that an export which measures nothing need not take.
    from export.quality import agreement as agreements  # noqa: PLC0415

    found = agreements.vectors(np.concatenate(before), np.concatenate(after))
    yield _quality("mean cosine", found.cosine_mean, found.n)
    yield _quality("worst cosine", found.cosine_worst, found.n)
    yield _quality("rank correlation of similarities", found.spearman, found.n)


def _scores(name: str, before: list[Vectors], after: list[Vectors]) -> Iterator[Quality]:
    from export.quality import agreement as agreements  # noqa: PLC0415

    found = agreements.scores(np.concatenate(before).ravel(), np.concatenate(after).ravel())
    yield _quality(f"rank correlation of {name}", found.spearman, found.n)
    yield _quality(f"correlation of {name}", found.correlation, found.n)


def _decisions(
    name: str, before: list[Vectors], after: list[Vectors], labels: Labels | None
) -> Iterator[Quality]:
    from export.quality import agreement as agreements  # noqa: PLC0415

    if labels is not None and labels.kind == "multi":
        found = agreements.label_sets(
            np.concatenate(before), np.concatenate(after), labels.thresholds
        )
    else:
        found = agreements.classes(
            [_rows(name, a) for a in before], [_rows(name, a) for a in after]
        )
    yield _quality(f"same {_DECISIONS[name]}", found.same, found.n)
    yield _quality(f"correlation of {name}", found.correlation, found.n)


def _rows(name: str, logits: Vectors) -> Vectors:
    """Return logits with what is chosen from on the last axis."""
    if name != "logits":
        rows: Vectors = logits[0]
        return rows
    # Of images: (1, names, height, width).
    last = np.moveaxis(logits, 1, -1) if logits.ndim == 4 else logits  # noqa: PLR2004
    return last.reshape(-1, last.shape[-1])


def _joined(answer: Answer, names: Iterable[str]) -> Vectors:
    return np.concatenate([answer[name].ravel() for name in names])


def _cosine(before: Vectors, after: Vectors) -> float:
    # Nothing agrees with nothing: a sparse vector may be 0 everywhere.
    if not before.any() and not after.any():
        return 1.0
    return float(cosine(before.ravel(), after.ravel()))


def _quality(measure: str, value: float | np.floating, count: int) -> Quality:
    return Quality(measure=measure, reference=None, bundle=float(value), count=count)
