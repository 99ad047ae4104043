"""Trace a module with the lowering in place and write it as an ONNX graph in memory.

The weights of the result are the module's own memory, not copies. Knows nothing of tasks or files.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import onnx_ir as ir
import torch
from torch import nn
from transformers import PreTrainedModel

from export.attention import lowering, patches
from export.errors import ConversionFailed
from export.graph.origin import keep_origins

OPSET = 20

# torch's and onnxscript's own affairs, reported by every export of every model.
_HARMLESS = (
    (FutureWarning, r"`isinstance\(treespec, LeafSpec\)` is deprecated"),
    (UserWarning, r"# The axis name: \w+ will not be used"),
)

# The first names missing torchvision operators, which are not needed; the second guesses the type
# of empty attributes that torch writes, and guesses right.
_CHATTY = ("torch.onnx._internal.exporter._registration", "onnx_ir._convenience")


@dataclass(frozen=True, slots=True)
class Converted:
    """A graph and what the tracing saw."""

    model: ir.Model
    attention_classes: tuple[str, ...]
    """Class of the module behind each fused attention, in the order they ran."""
    causal: bool
    """Some attention hides later tokens from earlier ones."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a module is traced with."""

    inputs: Mapping[str, torch.Tensor]
    """By the names of `forward`. Any sizes would do for a free dimension except 0 and 1."""
    free: Mapping[str, Mapping[int, str]]
    """Input -> dimension -> its name; equal names are equal sizes."""
    outputs: Sequence[str]
    bounds: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    """Name of a dimension -> its smallest and largest size, where the module has any."""


def convert(
    module: nn.Module, signature: Signature, attention: PreTrainedModel | None = None
) -> Converted:
    """Return a module as an ONNX graph.

    Every attention of the model in `attention` becomes one fused node; without it, `module` must
    have none.

    Raises:
        LoweringRefused: an attention module needs what the fused node cannot do.
        ConversionFailed: torch cannot trace the module or has no ONNX form for it.
    """
    dims = {
        name: _dim(name, signature) for part in signature.free.values() for name in part.values()
    }
    shapes = {
        name: {axis: dims[dim] for axis, dim in signature.free.get(name, {}).items()}
        for name in signature.inputs
    }
    lowered = nullcontext() if attention is None else lowering.lowered(attention)
    patched = nullcontext() if attention is None else patches.patched(attention)
    with _quiet(), patched, lowered as seen:
        try:
            traced = torch.export.export(
                module.eval(), (), dict(signature.inputs), dynamic_shapes=shapes, strict=False
            )
            program = torch.onnx.export(
                traced,
                dynamic_shapes=shapes,
                input_names=list(signature.inputs),
                output_names=list(signature.outputs),
                opset_version=OPSET,
                dynamo=True,
                # The exporter's own rewrites are not needed and have broken graphs before.
                optimize=False,
                verbose=False,
            )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            raise ConversionFailed(
                f"torch cannot export {_name(attention or module)}: {error}"
            ) from error
    if program is None:
        raise ConversionFailed(f"torch returned no graph for {_name(attention or module)}")
    keep_origins(program.model)
    if seen is None:
        return Converted(program.model, (), causal=False)
    classes = tuple(type(part).__name__ for part in seen.modules)
    return Converted(program.model, classes, causal=bool(seen.causal_masks))


def _dim(name: str, signature: Signature) -> torch.export.Dim:
    smallest, largest = signature.bounds.get(name, (None, None))
    return torch.export.Dim(name, min=smallest, max=largest)


def _name(module: nn.Module) -> str:
    return type(module).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for category, message in _HARMLESS:
                warnings.filterwarnings("ignore", message, category)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
