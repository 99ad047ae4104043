"""Tasks: what a bundle answers, and which of transformers' model classes has the head for it.

Names resolve through optimum's vocabulary, so its synonyms work on the command line. Without a name
the task is read from the checkpoint. Pure except for reading `config.json` and `modules.json`.
"""

from pathlib import Path
from typing import get_args

# optimum ships no type information.
from optimum.exporters.tasks import TasksManager  # type: ignore[import-untyped]
from transformers import PreTrainedConfig

from export import sentence
from export.errors import CheckpointUnsupported
from server.repository.manifest import Task

OPTIMUM: dict[Task, str] = {
    "embed": "feature-extraction",
    "sparse-embed": "fill-mask",
    "rerank": "text-classification",
    "classify": "text-classification",
    "token-classify": "token-classification",
    "question-answer": "question-answering",
    "fill-mask": "fill-mask",
    "image-classify": "image-classification",
    "detect": "object-detection",
    "segment": "semantic-segmentation",
    "tensors": "feature-extraction",
}
"""heed's task -> optimum's."""

TEXT: frozenset[Task] = frozenset(
    {
        "embed",
        "sparse-embed",
        "rerank",
        "classify",
        "token-classify",
        "question-answer",
        "fill-mask",
    }
)
"""Tasks of sequences of tokens: packed by segment. The others take raw tensors."""

_HEADS: dict[str, Task] = {
    "ForTokenClassification": "token-classify",
    "ForQuestionAnswering": "question-answer",
    "ForMaskedLM": "fill-mask",
    "ForMaskedImageModeling": "tensors",
    "ForImageClassification": "image-classify",
    "ForObjectDetection": "detect",
    "ForSemanticSegmentation": "segment",
}
"""End of the class name in `architectures` -> task."""

_RERANKER_KEYS = ("sentence_transformers", "sbert_ce_default_activation_function")
"""What sentence-transformers' CrossEncoder leaves in `config.json`."""


def parse(name: str) -> Task:
    """Return heed's name of a task: its own, one of optimum's, or one of optimum's synonyms.

    Raises:
        CheckpointUnsupported: no such task; lists those there are.
    """
    if name in OPTIMUM:
        return name
    meant = TasksManager.map_from_synonym(name)
    for task, optimum_name in OPTIMUM.items():
        # The first of several: embed for feature-extraction, fill-mask before sparse-embed.
        if optimum_name == meant and task not in {"sparse-embed", "rerank"}:
            return task
    raise CheckpointUnsupported(f"task '{name}' is unknown; use one of {', '.join(get_args(Task))}")


def detect(directory: Path, config: PreTrainedConfig) -> Task:
    """Return the task that a checkpoint was saved for.

    Raises:
        CheckpointUnsupported: the checkpoint does not say, or says something that has no task.
    """
    if sentence.is_sentence_model(directory):
        return "sparse-embed" if sentence.is_sparse(directory) else "embed"
    architecture = next(iter(config.architectures or ()), "")
    for ending, task in _HEADS.items():
        if architecture.endswith(ending):
            return task
    if architecture.endswith("ForSequenceClassification"):
        return "rerank" if _is_reranker(config) else "classify"
    if architecture.endswith("Model") or not architecture:
        return "embed" if hasattr(config, "vocab_size") else "tensors"
    raise CheckpointUnsupported(
        f"config.json says {architecture}, which is no task of its own; pass --task, "
        f"one of {', '.join(get_args(Task))}"
    )


def _is_reranker(config: PreTrainedConfig) -> bool:
    if any(hasattr(config, key) for key in _RERANKER_KEYS):
        return True
    return config.num_labels == 1 and config.problem_type != "regression"
