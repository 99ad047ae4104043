"""How alike two bundles answer the same texts, with neither taken for the truth."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from export.evaluation import unlabelled
from export.evaluation.answer import Answer
from export.graph.heads import SENTENCE_EMBEDDING
from export.inspect.side import Pair, Side
from server.repository.manifest import Quality

Values = NDArray[np.float32]
Answers = dict[str, list[Values]]
"""Output -> its part of each answer, in the order of the texts."""

_MOST_NUMBERS = 2**24
"""Of one output, kept for the comparison: logits over a large vocabulary are many."""

_ORDER = "rank correlation of similarities"
"""The measure that two embeddings of different spaces have in common."""


class Unlike(Exception):
    """Two bundles have no answers in common; the message says why."""


def alike(left: Side, right: Side, asked: Sequence[Pair]) -> tuple[Quality, ...]:
    """Return how alike two bundles answer.

    Raises:
        Unlike: their answers mean different things.
        ParityBroken, RunFailed: as `Side.answers`.
    """
    _require_alike(left, right)
    before, after = _collect(left.answers(asked)), _collect(right.answers(asked))
    wide = _widen(before, after)
    for name, values in before.items():
        if [part.shape for part in values] != [part.shape for part in after.get(name, [])]:
            raise Unlike(f"the shapes of {name} differ")
    found = tuple(
        quality
        for name, values in before.items()
        for quality in unlabelled.measure(name, (values, after[name]), left.manifest.labels)
    )
    return tuple(one for one in found if one.measure == _ORDER) if wide else found


def _require_alike(left: Side, right: Side) -> None:
    before, after = left.manifest, right.manifest
    if before.task != after.task:
        raise Unlike(f"the tasks are {before.task} and {after.task}")
    if before.text is None and before.inputs != after.inputs:
        raise Unlike("the inputs differ")
    names = [None if side.labels is None else side.labels.names for side in (before, after)]
    if names[0] != names[1]:
        raise Unlike("the labels differ")


def _collect(answers: Iterable[Answer]) -> Answers:
    kept: Answers = {}
    sizes: dict[str, int] = {}
    for answer in answers:
        for name, values in answer.items():
            sizes[name] = sizes.get(name, 0) + values.size
            # Whatever its size, one text is compared.
            if name not in kept or sizes[name] <= _MOST_NUMBERS:
                kept.setdefault(name, []).append(values)
    return kept


def _widen(before: Answers, after: Answers) -> bool:
    """Give the shorter of two kinds of embeddings zeros at the end, which no cosine sees."""
    pair = before.get(SENTENCE_EMBEDDING), after.get(SENTENCE_EMBEDDING)
    if pair[0] is None or pair[1] is None or pair[0][0].shape == pair[1][0].shape:
        return False
    widest = max(part.shape[-1] for values in pair if values for part in values)
    for answers in (before, after):
        answers[SENTENCE_EMBEDDING] = [
            np.pad(part, ((0, 0), (0, widest - part.shape[-1])))
            for part in answers[SENTENCE_EMBEDDING]
        ]
    return True
