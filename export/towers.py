"""The towers of a checkpoint that compares two kinds of data: which class holds one of them.

CLIP, SigLIP and their kind are a text model and a vision model in one directory. Each is exported
by itself, with the projection into the common space where the architecture has one.
"""

from typing import cast

import transformers
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from export.errors import CheckpointUnsupported

TOWERS = ("text", "vision", "audio")


def has_towers(config: PreTrainedConfig) -> bool:
    """Whether a checkpoint consists of several towers."""
    return sum(f"{tower}_config" in config.sub_configs for tower in TOWERS) > 1


def tower_class(config: PreTrainedConfig, tower: str) -> type[PreTrainedModel]:
    """Return the class of one tower.

    Raises:
        CheckpointUnsupported: the checkpoint has no such tower.
    """
    present = [name for name in TOWERS if f"{name}_config" in config.sub_configs]
    if tower not in present:
        raise CheckpointUnsupported(
            f"{config.model_type} has no {tower} tower; it has {' and '.join(present) or 'none'}"
        )
    # As AutoModel itself finds it.
    model_class = cast("type", AutoModel._model_mapping[type(config)])  # noqa: SLF001
    ending = "ModelWithProjection" if hasattr(config, "projection_dim") else "Model"
    name = model_class.__name__.removesuffix("Model") + tower.capitalize() + ending
    found = getattr(transformers, name, None)
    if found is None:
        raise CheckpointUnsupported(f"transformers has no {name}, which the tower alone would need")
    return cast("type[PreTrainedModel]", found)


def tower_config(config: PreTrainedConfig, tower: str) -> PreTrainedConfig:
    """Return the configuration of one tower."""
    part = cast("PreTrainedConfig", getattr(config, f"{tower}_config"))
    # The whole model projects to this width, whatever its parts say.
    if hasattr(config, "projection_dim"):
        part.projection_dim = config.projection_dim
    return part
