"""Trace an encoder with the lowering in place and write it as an ONNX graph in memory.

Inputs `input_ids`, `segment_ids`, `position_ids` (rows x length), output `last_hidden_state`. The
weights of the result are the module's own memory, not copies. Knows nothing of heads or files.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import onnx_ir as ir
import torch
from torch import nn

from export.attention import lowering
from export.errors import ConversionFailed
from export.load import Encoder

OPSET = 20
STATES = "last_hidden_state"

# Any shape would do: both dimensions are free. Neither 0 nor 1, which torch.export specialises.
_TRACED_ROWS, _TRACED_LENGTH = 3, 6

# torch's and onnxscript's own affairs, reported by every export of every model.
_HARMLESS = (
    (FutureWarning, r"`isinstance\(treespec, LeafSpec\)` is deprecated"),
    (UserWarning, r"# The axis name: \w+ will not be used"),
)


@dataclass(frozen=True, slots=True)
class Converted:
    """A graph and what the tracing saw."""

    model: ir.Model
    attention_modules: int


class _SegmentEncoder(nn.Module):
    """The encoder behind the bundle's three inputs."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder.module
        # One zero broadcasts over rows and length, so the embedding folds into a constant.
        zero = torch.zeros(1, 1, dtype=torch.long)
        self.token_type_ids = nn.Buffer(zero) if _has_token_types(encoder.module) else None

    def forward(
        self, input_ids: torch.Tensor, segment_ids: torch.Tensor, position_ids: torch.Tensor
    ) -> torch.Tensor:
        types = {} if self.token_type_ids is None else {"token_type_ids": self.token_type_ids}
        output = self.encoder(
            input_ids=input_ids,
            # A 4-D mask is used as it is, by every layer: the bias is built once.
            attention_mask=lowering.segment_bias(segment_ids),
            position_ids=position_ids,
            **types,
        )
        return cast("torch.Tensor", output.last_hidden_state)


def convert(encoder: Encoder) -> Converted:
    """Return the encoder as an ONNX graph with one fused node for each attention module.

    Raises:
        LoweringRefused: an attention module needs what the fused node cannot do.
        ConversionFailed: torch cannot trace the module or has no ONNX form for it.
    """
    shape = (_TRACED_ROWS, _TRACED_LENGTH)
    # Three tensors, not one: torch.export takes equal objects for one input.
    inputs = {
        "input_ids": torch.ones(shape, dtype=torch.long),
        "segment_ids": torch.ones(shape, dtype=torch.long),
        "position_ids": torch.full(shape, encoder.position_offset, dtype=torch.long),
    }
    free = {0: torch.export.Dim("rows"), 1: torch.export.Dim("length")}
    wrapper = _SegmentEncoder(encoder).eval()
    with _quiet(), lowering.lowered(encoder.module) as seen:
        try:
            traced = torch.export.export(
                wrapper, (), inputs, dynamic_shapes=dict.fromkeys(inputs, free), strict=False
            )
            program = torch.onnx.export(
                traced,
                dynamic_shapes=dict.fromkeys(inputs, free),
                input_names=list(inputs),
                output_names=[STATES],
                opset_version=OPSET,
                dynamo=True,
                # The exporter's own rewrites are not needed and have broken graphs before.
                optimize=False,
                verbose=False,
            )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            raise ConversionFailed(f"torch cannot export {encoder.family}: {error}") from error
    if program is None:
        raise ConversionFailed(f"torch returned no graph for {encoder.family}")
    return Converted(program.model, len(seen))


def _has_token_types(module: nn.Module) -> bool:
    return any(name.endswith("token_type_embeddings") for name, _ in module.named_modules())


@contextmanager
def _quiet() -> Iterator[None]:
    # Names the missing torchvision operators, which no text model has.
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for category, message in _HARMLESS:
                warnings.filterwarnings("ignore", message, category)
            yield
    finally:
        registration.setLevel(level)
