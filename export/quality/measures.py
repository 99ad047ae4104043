"""The measures of each task: from what is true and what was answered to one number.

A measure first boils every example down to a row of numbers and then takes its value over rows, so
that a resample of the examples is a choice of rows. Values are as the field reports them: shares in
[0, 1], correlations in [-1, 1], BLEU and chrF in [0, 100]. No value exists (NaN) where the truth
leaves nothing to measure, such as the order of equal scores.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from scipy.stats import spearmanr  # type: ignore[import-untyped]
from sklearn.metrics import ndcg_score  # type: ignore[import-untyped]

from export.quality import entities, spans
from export.quality.answers import Vector
from export.quality.bootstrap import Rows
from export.quality.entities import Tags

Gold = TypeVar("Gold")
Answers = TypeVar("Answers")

Counts = NDArray[np.int64] | NDArray[np.float64]

_CUT = 10
_CANDIDATES = 5


@dataclass(frozen=True, slots=True)
class Measure(Generic[Gold, Answers]):
    """One number for how well `Answers` agree with `Gold`; both hold the examples in order."""

    name: str
    rows: Callable[[Gold, Answers], Rows]
    value: Callable[[Rows], float]
    higher_is_better: bool = True

    def __call__(self, gold: Gold, answers: Answers) -> float:
        """Return the value over all examples."""
        return self.value(self.rows(gold, answers))


def ndcg(relevance: Vector, scores: Vector) -> float:
    """Return the normalised discounted cumulative gain of the best 10 documents, in [0, 1].

    1 is the ideal order. The gain is the relevance itself, divided by log2(rank + 1); documents of
    equal score share the mean gain of their ranks (Jaervelin and Kekaelaeinen, 2002, as
    scikit-learn computes it).
    """
    return float(ndcg_score([relevance], [scores], k=_CUT))


def reciprocal_rank(relevance: Vector, scores: Vector) -> float:
    """Return 1 / rank of the first document of any relevance, in (0, 1] (Voorhees, TREC-8, 1999).

    Of equal scores the irrelevant documents come first: a model that tells nothing apart earns
    nothing by luck.
    """
    best = np.max(scores, where=relevance > 0, initial=-np.inf)
    return 1 / (1 + int(np.sum(scores[relevance <= 0] >= best)))


def _columns(gold: ArrayLike, answers: ArrayLike) -> Rows:
    columns = np.asarray(gold, np.float64), np.asarray(answers, np.float64)
    if columns[0].shape != columns[1].shape:
        raise ValueError(f"{columns[1].shape} answers to {columns[0].shape} examples")
    return np.stack(columns, axis=1)


def _halves(gold: NDArray[np.bool_], answers: NDArray[np.bool_]) -> Rows:
    if gold.shape != answers.shape:
        raise ValueError(f"{answers.shape} answers to {gold.shape} examples")
    return np.hstack([gold, answers]).astype(np.float64)


def _per_example(score: Callable[[Gold, Answers], float]) -> Callable[..., Rows]:
    """Return rows of one column: what `score` says of each example."""

    def rows(gold: Sequence[Gold], answers: Sequence[Answers]) -> Rows:
        scores = [score(*pair) for pair in zip(gold, answers, strict=True)]
        return np.array(scores, np.float64)[:, None]

    return rows


def _mean(rows: Rows) -> float:
    return float(rows.mean())


def _spearman(rows: Rows) -> float:
    if np.ptp(rows[:, 0]) == 0:
        return float("nan")
    # An answer that never varies orders nothing; SciPy would warn and say NaN.
    return float(spearmanr(rows).statistic) if np.ptp(rows[:, 1]) > 0 else 0.0


def _rmse(rows: Rows) -> float:
    return float(np.sqrt(np.mean((rows[:, 0] - rows[:, 1]) ** 2)))


# The F1 of scikit-learn, to the last case (a test holds that). Its `f1_score` takes 1.5 ms whatever
# it is given, these take microseconds, and a comparison asks two thousand times.


def _f1_of_classes(rows: Rows) -> float:
    gold, answers = rows.astype(np.int64).T
    count = int(rows.max()) + 1
    right = np.bincount(gold[gold == answers], minlength=count)
    said, true = np.bincount(answers, minlength=count), np.bincount(gold, minlength=count)
    return _mean_f1(right, said, true)


def _f1_of_labels(rows: Rows) -> float:
    gold, answers = np.hsplit(rows, 2)
    return _mean_f1((gold * answers).sum(axis=0), answers.sum(axis=0), gold.sum(axis=0))


def _f1_of_decisions(rows: Rows) -> float:
    gold, answers = np.hsplit(rows, 2)
    return _mean_f1(*(np.array([n.sum()]) for n in (gold * answers, answers, gold)))


def _f1_of_counts(rows: Rows) -> float:
    return _mean_f1(*np.hsplit(rows.sum(axis=0), 3))


def _mean_f1(right: Counts, said: Counts, true: Counts) -> float:
    """Return the mean F1 of the classes that occur; NaN if none does."""
    # 2PR / (P + R) in counts. A class neither true nor answered has no F1 and stays out.
    occurs = said + true > 0
    return float(np.mean(2 * right[occurs] / (said + true)[occurs])) if occurs.any() else np.nan


def _tag_rows(gold: Tags, answers: Tags) -> Rows:
    counts = []
    for true, said in zip(gold, answers, strict=True):
        counts.append((sum(t == s for t, s in zip(true, said, strict=True)), len(true)))
    return np.array(counts, np.float64)


def _within(limit: int) -> Callable[[str, Sequence[str]], float]:
    def score(answer: str, candidates: Sequence[str]) -> float:
        if len(candidates) < _CANDIDATES:
            raise ValueError(f"{len(candidates)} candidates, {_CANDIDATES} are needed")
        return float(answer.strip() in [candidate.strip() for candidate in candidates[:limit]])

    return score


def _translation(name: str, metric: Metric) -> Measure[Sequence[str], Sequence[str]]:
    # sacrebleu's own significance test resamples the same statistics of each sentence; no public
    # name leads to them.
    def rows(references: Sequence[str], hypotheses: Sequence[str]) -> Rows:
        if len(references) != len(hypotheses):
            raise ValueError(f"{len(hypotheses)} translations of {len(references)} sentences")
        counts = metric._extract_corpus_statistics(hypotheses, [references])  # noqa: SLF001
        return np.array(counts, np.float64)

    def value(rows: Rows) -> float:
        total = rows.sum(axis=0).astype(int).tolist()
        return float(metric._aggregate_and_compute([total]).score)  # noqa: SLF001

    return Measure(name, rows, value)


SPEARMAN: Measure[ArrayLike, ArrayLike] = Measure("Spearman", _columns, _spearman)
"""Correlation of the ranks of scores, in [-1, 1]: 1 is the same order (Spearman, 1904)."""

RMSE: Measure[ArrayLike, ArrayLike] = Measure("RMSE", _columns, _rmse, higher_is_better=False)
"""Root of the mean squared error, in the unit of the scores, from 0, which is best."""

ACCURACY: Measure[ArrayLike, ArrayLike] = Measure(
    "accuracy", _columns, lambda rows: float(np.mean(rows[:, 0] == rows[:, 1]))
)
"""Share of examples of the right class, in [0, 1]."""

F1_MACRO: Measure[ArrayLike, ArrayLike] = Measure("F1 macro", _columns, _f1_of_classes)
"""Harmonic mean of precision and recall of each class that occurs, averaged, in [0, 1]."""

LABEL_SET_F1_MICRO: Measure[NDArray[np.bool_], NDArray[np.bool_]] = Measure(
    "F1 micro", _halves, _f1_of_decisions
)
"""F1 over all decisions for a label on an example, in [0, 1]: frequent labels count more."""

LABEL_SET_F1_MACRO: Measure[NDArray[np.bool_], NDArray[np.bool_]] = Measure(
    "F1 macro", _halves, _f1_of_labels
)
"""F1 of each label that occurs, averaged, in [0, 1]: every label counts the same."""

NDCG_AT_10: Measure[Sequence[Vector], Sequence[Vector]] = Measure(
    f"nDCG@{_CUT}", _per_example(ndcg), _mean
)
"""Mean of `ndcg` over the queries, in [0, 1]."""

MRR: Measure[Sequence[Vector], Sequence[Vector]] = Measure(
    "MRR", _per_example(reciprocal_rank), _mean
)
"""Mean of `reciprocal_rank` over the queries, in (0, 1]."""

ENTITY_F1: Measure[Tags, Tags] = Measure("entity F1", entities.count, _f1_of_counts)
"""F1 of whole entities with their type over all sentences, in [0, 1] (see `entities`)."""

TAG_ACCURACY: Measure[Tags, Tags] = Measure(
    "tag accuracy", _tag_rows, lambda rows: float(rows[:, 0].sum() / rows[:, 1].sum())
)
"""Share of words with the right tag, in [0, 1]; most words are O, so it looks better than it is."""

EXACT_MATCH: Measure[Sequence[Sequence[str]], Sequence[str]] = Measure(
    "exact match", _per_example(spans.exact_match), _mean
)
"""Share of questions answered word for word, in [0, 1] (see `spans`)."""

ANSWER_F1: Measure[Sequence[Sequence[str]], Sequence[str]] = Measure(
    "answer F1", _per_example(spans.overlap), _mean
)
"""Mean F1 of the words shared with the accepted answer, in [0, 1] (see `spans`)."""

TOP_1: Measure[Sequence[str], Sequence[Sequence[str]]] = Measure(
    "top-1 accuracy", _per_example(_within(1)), _mean
)
"""Share of masks whose word is the likeliest candidate, in [0, 1]."""

TOP_5: Measure[Sequence[str], Sequence[Sequence[str]]] = Measure(
    f"top-{_CANDIDATES} accuracy", _per_example(_within(_CANDIDATES)), _mean
)
"""Share of masks whose word is among the five likeliest candidates, in [0, 1]."""


def bleu(tokenize: str = "13a") -> Measure[Sequence[str], Sequence[str]]:
    """Return BLEU, in [0, 100]: shared 1- to 4-grams, shortness punished (Papineni et al., 2002).

    Over the whole set as sacrebleu computes it (Post, 2018). `tokenize` is its option: "zh" and
    "char" are for languages without spaces.
    """
    return _translation("BLEU", BLEU(tokenize=tokenize))


def chrf() -> Measure[Sequence[str], Sequence[str]]:
    """Return chrF2, in [0, 100]: F-score of shared 1- to 6-grams of characters (Popovic, 2015)."""
    return _translation("chrF", CHRF())
