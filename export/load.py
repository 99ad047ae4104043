"""Load a checkpoint directory as a PyTorch module of the class that has the task's head.

The model class comes from optimum's task vocabulary. Weights are read once, from safetensors only,
in FP32. A checkpoint that leaves a used weight uninitialised is refused.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

# optimum ships no type information.
from optimum.exporters.tasks import TasksManager  # type: ignore[import-untyped]
from transformers import AutoConfig, AutoModelForTextEncoding, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from export import towers
from export.errors import CheckpointUnsupported
from export.task import OPTIMUM, TEXT
from server.repository.manifest import Task


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checkpoint in memory."""

    module: PreTrainedModel
    """In evaluation mode, FP32, eager attention."""
    config: PreTrainedConfig
    directory: Path
    task: Task

    @property
    def family(self) -> str:
        """Model type, as transformers names it."""
        return str(self.config.model_type)


def read_config(directory: Path) -> PreTrainedConfig:
    """Return the configuration of a checkpoint.

    Raises:
        CheckpointUnsupported: there is none, or transformers does not know it.
    """
    if not (directory / "config.json").is_file():
        raise CheckpointUnsupported(
            f"{directory.name} has no config.json; it is not a transformers checkpoint"
        )
    try:
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    except (ValueError, OSError, KeyError) as error:
        raise CheckpointUnsupported(f"config.json cannot be used: {error}") from error
    return cast("PreTrainedConfig", config)


def load(directory: Path, config: PreTrainedConfig, task: Task) -> Loaded:
    """Load the weights in `directory` with the head of a task.

    Raises:
        CheckpointUnsupported: no safetensors, an incomplete checkpoint, or an architecture that
            transformers has no such head for.
    """
    _require_weights(directory)
    return Loaded(
        from_pretrained(_model_class(config, task), directory, config), config, directory, task
    )


def load_tower(directory: Path, config: PreTrainedConfig, tower: str) -> Loaded:
    """Load one tower of a checkpoint that has several, for raw tensors.

    Raises:
        CheckpointUnsupported: as `load`; or there is no such tower.
    """
    _require_weights(directory)
    model_class, part = towers.tower_class(config, tower), towers.tower_config(config, tower)
    return Loaded(from_pretrained(model_class, directory, part), part, directory, "tensors")


def _require_weights(directory: Path) -> None:
    if not any(directory.glob("model*.safetensors")):
        raise CheckpointUnsupported(
            f"{directory.name} has no model.safetensors; "
            "save the model with save_pretrained of a current transformers"
        )


def _model_class(config: PreTrainedConfig, task: Task) -> type[PreTrainedModel]:
    encoder_alone = next(iter(config.architectures or ()), "").endswith("EncoderModel")
    if (config.is_encoder_decoder or encoder_alone) and task in TEXT:
        if task != "embed":
            raise CheckpointUnsupported(
                f"{config.model_type} is an encoder and a decoder; its encoder can be exported "
                "with --task embed"
            )
        return cast("type[PreTrainedModel]", AutoModelForTextEncoding)
    try:
        found = TasksManager.get_model_class_for_task(OPTIMUM[task], model_type=config.model_type)
    except KeyError as error:
        raise CheckpointUnsupported(
            f"transformers has no model of type {config.model_type} for task {task}"
        ) from error
    return cast("type[PreTrainedModel]", found)


def from_pretrained(
    model_class: type[PreTrainedModel], directory: Path, config: PreTrainedConfig
) -> PreTrainedModel:
    """Return the weights of a directory in a class, every one of them.

    Raises:
        CheckpointUnsupported: weights are missing or do not fit.
    """
    # Its progress bars and loading tables; what matters of them is checked below.
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # transformers annotates in part
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # as above
    try:
        found: Any = model_class.from_pretrained(
            directory,
            config=config,
            attn_implementation="eager",
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
        )
        module, loaded = found
    except ValueError as error:
        if str(error).startswith("Unrecognized configuration class"):
            raise CheckpointUnsupported(
                f"transformers has no {model_class.__name__} of type {config.model_type}; "
                "choose another --task"
            ) from error
        raise CheckpointUnsupported(f"the weights cannot be loaded: {error}") from error
    except (OSError, RuntimeError, TypeError) as error:
        raise CheckpointUnsupported(f"the weights cannot be loaded: {error}") from error
    # Checkpoints of sentence models and of classifiers are saved without the pooler.
    base = module.base_model is module
    missing = sorted(
        key for key in loaded["missing_keys"] if not (base and key.startswith("pooler."))
    )
    if len(missing) < len(loaded["missing_keys"]):
        # Left in place, it would answer with random numbers.
        module.pooler = None
    if missing:
        others = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise CheckpointUnsupported(
            f"the checkpoint has no weights for {missing[0]}{others}, which transformers would "
            "fill with random numbers; pass the --task that it was trained for"
        )
    return cast("PreTrainedModel", module.eval().requires_grad_(requires_grad=False))
