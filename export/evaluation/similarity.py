"""Embeddings, dense and sparse, by the similarity of the texts of pairs and rankings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from export.evaluation import matches
from export.evaluation.answer import Answer
from export.evaluation.evaluation import Evaluation, Subject
from export.evaluation.inputs import Inputs
from export.evaluation.matches import Scores
from export.graph.heads import SENTENCE_EMBEDDING, SPARSE_EMBEDDING
from export.quality.answers import cosine
from export.quality.compare import Comparison
from export.quality.examples import EvalFile


@dataclass(frozen=True)
class Similarity(Evaluation[Scores]):
    """Dense embeddings, compared by cosine."""

    places: tuple[tuple[int, tuple[int, ...]], ...]
    """Of each example: input of the query, inputs of the documents."""

    @classmethod
    def of(cls, file: EvalFile, subject: Subject) -> Self:
        """Ask for every distinct text once."""
        inputs = Inputs(file, subject.tokenizer)
        places = tuple(
            (
                inputs.place(row, match.query),
                tuple(inputs.place(row, document) for document in match.documents),
            )
            for row, match in enumerate(matches.matches(file))
        )
        return cls(file, inputs.collected, inputs.notes, places)

    def read(self, answers: Iterable[Answer]) -> Scores:
        """Return the similarities of each example."""
        vectors = [answer[SENTENCE_EMBEDDING][0] for answer in answers]
        return [
            cosine(vectors[query], np.stack([vectors[document] for document in documents]))
            for query, documents in self.places
        ]

    def compare(self, reference: Scores, bundle: Scores) -> tuple[Comparison, ...]:
        """Compare by Spearman, or by nDCG@10 and MRR."""
        return matches.compare(self.file, reference, bundle)


class SparseSimilarity(Similarity):
    """Sparse embeddings, compared by their scalar product."""

    def read(self, answers: Iterable[Answer]) -> Scores:
        """Return the similarities of each example."""
        # Weights over a vocabulary, nearly all 0: a tenth of a megabyte a text if kept as they are.
        weights = []
        size = 0
        for answer in answers:
            (vector,) = answer[SPARSE_EMBEDDING]
            (ids,) = np.nonzero(vector)
            weights.append((ids, vector[ids].astype(np.float64)))
            size = len(vector)
        return [
            _products(size, weights[query], [weights[document] for document in documents])
            for query, documents in self.places
        ]


_Weights = tuple[NDArray[np.intp], NDArray[np.float64]]
"""Token ids, and the weight of each."""


def _products(size: int, query: _Weights, documents: Sequence[_Weights]) -> NDArray[np.float64]:
    dense = np.zeros(size)
    dense[query[0]] = query[1]
    return np.array([dense[ids] @ values for ids, values in documents])
