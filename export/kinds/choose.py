"""From a checkpoint directory to the kind of model that it is."""

from pathlib import Path

from transformers import PreTrainedConfig

from export import load
from export import task as tasks
from export.errors import CheckpointUnsupported
from export.kinds.kind import Kind
from export.kinds.tensors import TensorKind
from export.kinds.text import TextKind, TextOptions
from export.load import Loaded
from export.towers import has_towers
from server.repository.manifest import Task

_WHOLE: frozenset[Task] = frozenset({"embed", "tensors"})
"""Tasks without a head, which of several towers only one can do."""


def load_model(
    directory: Path, config: PreTrainedConfig, task: Task, tower: str | None = None
) -> Loaded:
    """Load a checkpoint with the head of a task, or one of its towers.

    Raises:
        CheckpointUnsupported: the checkpoint cannot be loaded for the task, or has several towers
            of which none is named.
    """
    if has_towers(config) and task in _WHOLE:
        if tower is None:
            raise CheckpointUnsupported(
                f"{config.model_type} is several models in one; pass --tower text or --tower vision"
            )
        return load.load_tower(directory, config, tower)
    return load.load(directory, config, task)


def kind_of(loaded: Loaded, text: TextOptions) -> Kind:
    """Return how a loaded model is traced and asked.

    Raises:
        CheckpointUnsupported: it needs something that the graph would not do.
    """
    if loaded.task in tasks.TEXT:
        return TextKind(loaded, text)
    return TensorKind(loaded.module, loaded.config, loaded.directory, loaded.task)
