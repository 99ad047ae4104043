"""PyTorch against the bundle on the task's own measures, with confidence intervals.

One function for each shape of example; all take the truth, what PyTorch answered and what the
bundle answered, in the order of the examples, and run nothing. Answers that are not numbers raise
`ParityBroken`.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from export.quality.answers import Array, Vector, chosen, most_likely, require_finite
from export.quality.bootstrap import paired_bootstrap
from export.quality.entities import Tags, has_entities
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
    Answers,
    Gold,
    Measure,
    bleu,
    chrf,
)


class Comparison(msgspec.Struct, frozen=True):
    """One measure of both systems. Intervals are 95 %, from the same resamples."""

    measure: str
    reference: float
    """Of the PyTorch model."""
    bundle: float
    difference: float
    """Bundle minus reference."""
    low: float
    """The interval of the difference."""
    high: float
    n: int
    """Examples."""
    reference_interval: tuple[float, float]
    bundle_interval: tuple[float, float]
    higher_is_better: bool = True

    @property
    def loss(self) -> float:
        """How much worse the bundle is, in the unit of the measure; negative if it is better."""
        return -self.difference if self.higher_is_better else self.difference


def compare(
    measure: Measure[Gold, Answers], gold: Gold, reference: Answers, bundle: Answers
) -> Comparison:
    """Return one measure of both systems over the same examples."""
    before, after = measure.rows(gold, reference), measure.rows(gold, bundle)
    values = measure.value(before), measure.value(after)
    intervals = paired_bootstrap(measure.value, before, after)
    return Comparison(
        measure=measure.name,
        reference=values[0],
        bundle=values[1],
        difference=values[1] - values[0],
        low=intervals.difference.low,
        high=intervals.difference.high,
        n=len(before),
        reference_interval=(intervals.reference.low, intervals.reference.high),
        bundle_interval=(intervals.bundle.low, intervals.bundle.high),
        higher_is_better=measure.higher_is_better,
    )


def compare_pairs(
    scores: Sequence[float], reference: Vector, bundle: Vector
) -> tuple[Comparison, ...]:
    """Compare similarities of `ScoredPair`, shape (examples,), by Spearman."""
    require_finite(reference, bundle)
    return (compare(SPEARMAN, scores, reference, bundle),)


def compare_rankings(
    relevance: Sequence[ArrayLike], reference: Sequence[Vector], bundle: Sequence[Vector]
) -> tuple[Comparison, ...]:
    """Compare scores of the documents of each `Ranking` by nDCG@10 and MRR."""
    require_finite(reference, bundle)
    gold = [np.asarray(values, np.float64) for values in relevance]
    return tuple(compare(measure, gold, reference, bundle) for measure in (NDCG_AT_10, MRR))


def compare_classes(classes: ArrayLike, reference: Array, bundle: Array) -> tuple[Comparison, ...]:
    """Compare logits of `LabelledText`, shape (examples, names), by accuracy and macro F1.

    `classes` are the indices that `labels.class_indices` returns.
    """
    require_finite(reference, bundle)
    before, after = most_likely(reference), most_likely(bundle)
    return tuple(compare(measure, classes, before, after) for measure in (ACCURACY, F1_MACRO))


def compare_label_sets(
    sets: NDArray[np.bool_], reference: Array, bundle: Array, thresholds: Sequence[float] = ()
) -> tuple[Comparison, ...]:
    """Compare logits of `LabelSetText`, shape (examples, names), by micro and macro F1.

    `sets` is what `labels.label_sets` returns; a label holds from its threshold of probability,
    or from 0.5.
    """
    require_finite(reference, bundle)
    before, after = chosen(reference, thresholds), chosen(bundle, thresholds)
    measures = (LABEL_SET_F1_MICRO, LABEL_SET_F1_MACRO)
    return tuple(compare(measure, sets, before, after) for measure in measures)


def compare_values(
    scores: Sequence[float], reference: Vector, bundle: Vector
) -> tuple[Comparison, ...]:
    """Compare predicted values of `ScoredText`, shape (examples,), by Spearman and RMSE."""
    require_finite(reference, bundle)
    return tuple(compare(measure, scores, reference, bundle) for measure in (SPEARMAN, RMSE))


def compare_tags(tags: Tags, reference: Tags, bundle: Tags) -> tuple[Comparison, ...]:
    """Compare tags of `TaggedWords` by entity F1 and tag accuracy.

    By accuracy alone where the tags do not spell entities.
    """
    measures = (ENTITY_F1, TAG_ACCURACY) if has_entities(tags) else (TAG_ACCURACY,)
    return tuple(compare(measure, tags, reference, bundle) for measure in measures)


def compare_answers(
    accepted: Sequence[Sequence[str]], reference: Sequence[str], bundle: Sequence[str]
) -> tuple[Comparison, ...]:
    """Compare answers to each `Question`, empty for no answer, by exact match and F1."""
    measures = (EXACT_MATCH, ANSWER_F1)
    return tuple(compare(measure, accepted, reference, bundle) for measure in measures)


def compare_candidates(
    words: Sequence[str], reference: Sequence[Sequence[str]], bundle: Sequence[Sequence[str]]
) -> tuple[Comparison, ...]:
    """Compare the candidates for each `MaskedText`, the likeliest first, by the best 1 and 5."""
    return tuple(compare(measure, words, reference, bundle) for measure in (TOP_1, TOP_5))


def compare_translations(
    texts: Sequence[str], reference: Sequence[str], bundle: Sequence[str], tokenize: str = "13a"
) -> tuple[Comparison, ...]:
    """Compare translations with those of people by BLEU and chrF; see `measures.bleu`."""
    measures = (bleu(tokenize), chrf())
    return tuple(compare(measure, texts, reference, bundle) for measure in measures)
