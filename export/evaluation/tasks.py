"""Which evaluation a task has. Brings SciPy and scikit-learn, so import it only to evaluate."""

from collections.abc import Callable, Mapping
from typing import Any

from export.evaluation.candidates import MaskCandidates
from export.evaluation.classes import Classes
from export.evaluation.evaluation import Evaluation, Subject
from export.evaluation.relevance import Relevance
from export.evaluation.similarity import Similarity, SparseSimilarity
from export.evaluation.spans import Spans
from export.evaluation.tags import WordTags
from export.quality.examples import EvalFile
from server.repository.manifest import Task

EVALUATIONS: Mapping[Task, Callable[[EvalFile, Subject], Evaluation[Any]]] = {
    "embed": Similarity.of,
    "sparse-embed": SparseSimilarity.of,
    "rerank": Relevance.of,
    "classify": Classes.of,
    "token-classify": WordTags.of,
    "question-answer": Spans.of,
    "fill-mask": MaskCandidates.of,
}
