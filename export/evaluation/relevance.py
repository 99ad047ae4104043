"""Rerankers, by the order they bring documents into."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np

from export.evaluation import matches
from export.evaluation.answer import Answer
from export.evaluation.evaluation import Evaluation, Subject
from export.evaluation.inputs import Inputs
from export.evaluation.matches import Scores
from export.quality.compare import Comparison
from export.quality.examples import EvalFile
from server.repository.manifest import Labels
from server.text.scores import relevance


@dataclass(frozen=True)
class Relevance(Evaluation[Scores]):
    """Scores of pairs of query and document."""

    labels: Labels
    places: tuple[tuple[int, ...], ...]
    """Of each example: inputs of the pairs."""

    @classmethod
    def of(cls, file: EvalFile, subject: Subject) -> Self:
        """Ask for every distinct pair once."""
        assert subject.labels is not None
        inputs = Inputs(file, subject.tokenizer)
        places = tuple(
            tuple(inputs.place(row, match.query, document) for document in match.documents)
            for row, match in enumerate(matches.matches(file))
        )
        notes = (*inputs.notes, *_notes(subject.labels))
        return cls(file, inputs.collected, notes, subject.labels, places)

    def read(self, answers: Iterable[Answer]) -> Scores:
        """Return the scores of each example."""
        scores = np.array([relevance(answer["logits"][0], self.labels.kind) for answer in answers])
        return [scores[list(places)] for places in self.places]

    def compare(self, reference: Scores, bundle: Scores) -> tuple[Comparison, ...]:
        """Compare by nDCG@10 and MRR, or by Spearman."""
        return matches.compare(self.file, reference, bundle)


def _notes(labels: Labels) -> tuple[str, ...]:
    if len(labels.names) == 1:
        return ()
    return (f"relevance was measured by the last label, {labels.names[-1]!r}",)
