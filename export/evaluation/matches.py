"""Queries and their candidates: what a pair with a score and a ranking have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from export.evaluation.answer import Vector
from export.quality.compare import Comparison, compare_pairs, compare_rankings
from export.quality.examples import EvalFile, Ranking, ScoredPair

Scores = Sequence[Vector]
"""One score a candidate for each example."""


@dataclass(frozen=True, slots=True)
class Match:
    """One text and those it is compared with."""

    query: str
    documents: tuple[str, ...]


def matches(file: EvalFile) -> tuple[Match, ...]:
    """Return the texts of each `ScoredPair` or `Ranking`."""
    if file.shape is ScoredPair:
        return tuple(Match(e.text_a, (e.text_b,)) for e in file.all_of(ScoredPair))
    return tuple(Match(e.query, e.documents) for e in file.all_of(Ranking))


def compare(file: EvalFile, reference: Scores, bundle: Scores) -> tuple[Comparison, ...]:
    """Compare scores of every candidate with what people say."""
    if file.shape is ScoredPair:
        scores = [example.score for example in file.all_of(ScoredPair)]
        return compare_pairs(scores, np.concatenate(reference), np.concatenate(bundle))
    return compare_rankings([e.relevance for e in file.all_of(Ranking)], reference, bundle)
