"""A model behind raw tensors by name, and which tensors of its output are answers.

An answer has one entry for each row: anything else could not be given back to the request that
asked.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from export.errors import CheckpointUnsupported
from export.proof.case import Case, Feeds
from export.threads import one_thread
from server.repository.manifest import Task, TensorSpec

_TASK_OUTPUTS: dict[Task, tuple[str, ...]] = {
    "image-classify": ("logits",),
    "detect": ("logits", "pred_boxes"),
    "segment": ("logits",),
}
"""What a task hands out; `tensors` hands out whatever the model answers."""

_FREE = -1


class Raw(nn.Module):
    """A model whose forward takes tensors only and returns the chosen outputs."""

    def __init__(self, model: PreTrainedModel, outputs: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.outputs = tuple(outputs)

    def forward(  # noqa: PLR0917 - torch.export names inputs by the parameters
        self,
        pixel_values: torch.Tensor | None = None,
        pixel_mask: torch.Tensor | None = None,
        input_values: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """Return the outputs in the order they were asked for."""
        inputs = {
            "pixel_values": pixel_values,
            "pixel_mask": pixel_mask,
            "input_values": input_values,
            "input_features": input_features,
            "input_ids": input_ids,
            "attention_mask": attention_mask,
        }
        output = self.model(**{name: part for name, part in inputs.items() if part is not None})
        return tuple(output[name] for name in self.outputs)


def without_unused(module: PreTrainedModel, task: Task) -> PreTrainedModel:
    """Return the model without the parts that do not lead to the outputs of a task.

    That is the decoder of text, where there is one, and a pooling head that a classifier ignores,
    whose attention would be traced and then dropped.
    """
    vision = getattr(module, "vision_model", None)
    if task != "tensors" and vision is not None and getattr(vision, "use_head", False):
        vision.use_head = False
    if "decoder_input_ids" not in inspect.signature(module.forward).parameters:
        return module
    return cast("PreTrainedModel", module.get_encoder())


def ask(module: PreTrainedModel, feeds: Feeds) -> ModelOutput:
    """Return what PyTorch answers, with eager attention and FP32.

    Raises:
        CheckpointUnsupported: the model does not take inputs of these shapes.
    """
    # Copies: some models write into their inputs.
    inputs = {name: torch.tensor(part) for name, part in feeds.items()}
    try:
        with torch.inference_mode(), one_thread():
            return cast("ModelOutput", module(**inputs))
    except (ValueError, RuntimeError) as error:
        shapes = ", ".join(f"{name} {part.shape}" for name, part in feeds.items())
        raise CheckpointUnsupported(
            f"{type(module).__name__} does not take {shapes}: {error}"
        ) from error


def choose(output: ModelOutput, task: Task, rows: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the outputs to hand out, and those that are left out because rows do not own them.

    Raises:
        CheckpointUnsupported: the model does not answer what the task hands out, or nothing at all.
    """
    tensors = {name: part for name, part in output.items() if isinstance(part, torch.Tensor)}
    owned = [
        name
        for name, part in tensors.items()
        if part.is_floating_point() and part.ndim > 0 and part.shape[0] == rows
    ]
    wanted = _TASK_OUTPUTS.get(task, tuple(owned))
    missing = [name for name in wanted if name not in owned]
    if missing or not wanted:
        raise CheckpointUnsupported(
            f"{type(output).__name__} has no {missing[0] if missing else 'tensor'} for each row; "
            "choose another --task"
        )
    left_out = () if task in _TASK_OUTPUTS else tuple(n for n in tensors if n not in owned)
    return wanted, left_out


def specs(names: Sequence[str], cases: Sequence[Case]) -> tuple[TensorSpec, ...]:
    """Return the outputs as the manifest states them: sizes that never differ are fixed.

    Raises:
        CheckpointUnsupported: an output is not one entry for each row.
    """
    return tuple(TensorSpec(name, "FP32", _shape(name, cases)) for name in names)


def _shape(name: str, cases: Sequence[Case]) -> tuple[int, ...]:
    for case in cases:
        if len(case.expected[name]) != _rows(case.feeds):
            raise CheckpointUnsupported(f"output {name} is not one entry for each row")
    shapes = [case.expected[name].shape for case in cases]
    return tuple(sizes[0] if len(set(sizes)) == 1 else _FREE for sizes in zip(*shapes, strict=True))


def _rows(feeds: Mapping[str, object]) -> int:
    return len(cast("Sequence[object]", next(iter(feeds.values()))))
