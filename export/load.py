"""Load a checkpoint directory: PyTorch module, and the facts about it that the bundle records.

The model class comes from optimum's task vocabulary. Weights are read once, from safetensors only,
in FP32. A checkpoint that leaves a used weight uninitialised is refused.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

# optimum ships no type information.
from optimum.exporters.tasks import TasksManager  # type: ignore[import-untyped]
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from export.errors import CheckpointUnsupported

TASKS = {"embed": "feature-extraction"}
"""heed's task -> optimum's."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """A loaded text encoder."""

    module: PreTrainedModel
    family: str
    hidden_size: int
    vocabulary: int
    pad_id: int
    max_position: int
    position_offset: int
    """First position id of a sequence."""


def load(directory: Path, task: str) -> Encoder:
    """Load the encoder in `directory`, in evaluation mode with eager attention.

    Raises:
        CheckpointUnsupported: not a checkpoint, not one of safetensors, incomplete, or of an
            architecture without an absolute position table.
    """
    config = _config(directory)
    module = _module(directory, config, task)
    positions = _position_table(module, config.model_type)
    # The RoBERTa family counts positions from behind the padding index of its table.
    offset = 0 if positions.padding_idx is None else positions.padding_idx + 1
    return Encoder(
        module=module,
        family=config.model_type,
        hidden_size=config.hidden_size,
        vocabulary=config.vocab_size,
        pad_id=config.pad_token_id or 0,
        max_position=positions.num_embeddings,
        position_offset=offset,
    )


def _config(directory: Path) -> PreTrainedConfig:
    if not (directory / "config.json").is_file():
        raise CheckpointUnsupported(
            f"{directory.name} has no config.json; it is not a transformers checkpoint"
        )
    try:
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    except (ValueError, OSError) as error:
        raise CheckpointUnsupported(f"config.json cannot be used: {error}") from error
    if config.is_encoder_decoder or getattr(config, "is_decoder", False):
        raise CheckpointUnsupported(
            f"config.json describes a decoder ({config.model_type}); only encoders are exported"
        )
    return cast("PreTrainedConfig", config)


def _module(directory: Path, config: PreTrainedConfig, task: str) -> PreTrainedModel:
    if not any(directory.glob("model*.safetensors")):
        raise CheckpointUnsupported(
            f"{directory.name} has no model.safetensors; "
            "save the model with save_pretrained of a current transformers"
        )
    model_class = TasksManager.get_model_class_for_task(TASKS[task], model_type=config.model_type)
    # Its progress bars and loading tables; what matters of them is checked below.
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # transformers annotates in part
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # as above
    try:
        module, loaded = model_class.from_pretrained(
            directory,
            config=config,
            attn_implementation="eager",
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (ValueError, OSError, RuntimeError) as error:
        raise CheckpointUnsupported(f"the weights cannot be loaded: {error}") from error
    # Sentence checkpoints are saved without the pooler, and the embedding does not use it.
    missing = sorted(key for key in loaded["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise CheckpointUnsupported(
            f"the checkpoint has no weights for {missing[0]} and {len(missing) - 1} others, "
            "which transformers would fill with random numbers; save the whole model again"
        )
    return cast("PreTrainedModel", module.eval().requires_grad_(requires_grad=False))


def _position_table(module: nn.Module, family: str) -> nn.Embedding:
    for name, part in module.named_modules():
        if name.endswith("position_embeddings") and isinstance(part, nn.Embedding):
            return part
    raise CheckpointUnsupported(
        f"architecture {family} has no table of absolute positions; "
        "bert, roberta, xlm-roberta, camembert, electra and distilbert have one"
    )
