"""What the numbers of a classifier mean, from the checkpoint's configuration."""

from typing import Literal

from transformers import PreTrainedConfig

from server.repository.manifest import Labels, Task

_LABELLED: frozenset[Task] = frozenset(
    {"rerank", "classify", "token-classify", "image-classify", "detect", "segment"}
)
_IDENTITY = "Identity"


def labels_of(config: PreTrainedConfig, task: Task) -> Labels | None:
    """Return names by index and how scores become probabilities; nothing for unlabelled tasks."""
    if task not in _LABELLED:
        return None
    # Keys come as text from JSON.
    names = {int(index): str(name) for index, name in (config.id2label or {}).items()}
    return Labels(tuple(names[index] for index in sorted(names)), _kind(config, task))


def _kind(config: PreTrainedConfig, task: Task) -> Literal["single", "multi", "regression"]:
    if task == "rerank" and config.num_labels == 1:
        # sentence-transformers' CrossEncoder applies a sigmoid to one score unless told otherwise.
        settings = getattr(config, "sentence_transformers", None) or {}
        stated = str(settings.get("activation_fn", "")) or str(
            getattr(config, "sbert_ce_default_activation_function", "")
        )
        return "regression" if stated.endswith(_IDENTITY) else "multi"
    match config.problem_type:
        case "regression":
            return "regression"
        case "multi_label_classification":
            return "multi"
        case _:
            # transformers itself takes one label for a number.
            return "regression" if config.num_labels == 1 else "single"
