"""The attention function that becomes one fused node.

While it is registered with transformers, every attention module that goes through the
`AttentionInterface` calls `attend`, which emits one `com.microsoft::MultiHeadAttention` instead of
matrix products and a Softmax. Nothing is matched afterwards. What the operator cannot express is
refused here, because an ignored keyword exports without complaint and answers wrongly.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from export.errors import LoweringRefused
from export.graph.fused import DOMAIN, OP_TYPE

NAME = "heed_multi_head_attention"
"""Name of this attention implementation inside transformers."""

MASKED = -1e4
"""Bias between tokens of different sequences: exp underflows to 0, and FP16 can hold it."""

INERT = frozenset({"position_ids"})
"""Keywords that carry a value but mean nothing here: absolute positions are in the embeddings."""

_seen: ContextVar[set[nn.Module]] = ContextVar("attention modules seen by the current trace")


def segment_bias(segment_ids: torch.Tensor) -> torch.Tensor:
    """Return the additive bias (rows, 1, length, length): 0 inside a segment, `MASKED` across.

    Padding (segment 0) attends padding, so no row of the Softmax is fully masked.
    """
    queries = segment_ids.unsqueeze(1).unsqueeze(3)
    keys = segment_ids.unsqueeze(1).unsqueeze(2)
    return torch.where(queries == keys, 0.0, MASKED)


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    **keywords: Any,  # noqa: ANN401 - transformers passes whatever an architecture adds
) -> tuple[torch.Tensor, None]:
    """Emit the fused node for one module, in the signature of `AttentionInterface`.

    Query, key and value arrive as (rows, heads, length, head size); the result leaves as
    (rows, length, heads, head size).

    Raises:
        LoweringRefused: the module needs something that the operator would not do.
    """
    _refuse_unsupported(module, attention_mask, dropout, keywords)
    rows, heads, length, head_size = query.shape
    if key.shape[1] != heads or value.shape[1] != heads:
        raise LoweringRefused(f"{_name(module)} shares key heads, which {OP_TYPE} cannot express")
    scale = head_size**-0.5 if scaling is None else scaling
    flat = [part.transpose(1, 2).flatten(2) for part in (query, key, value)]
    fused = torch.onnx.ops.symbolic(
        f"{DOMAIN}::{OP_TYPE}",
        [*flat, None, None, attention_mask],
        {"num_heads": heads, "scale": float(scale)},
        dtype=query.dtype,
        shape=(rows, length, heads * value.shape[3]),
        version=1,
    )
    _seen.get().add(module)
    return fused.view(rows, length, heads, value.shape[3]), None


def refuse_mask(**_: object) -> None:
    """Answer a model that builds its own mask: the segment bias did not reach it.

    Raises:
        LoweringRefused: always.
    """
    raise LoweringRefused(
        "the model builds its own attention mask instead of using the 4-D bias it was given; "
        "packed sequences would see each other"
    )


@contextmanager
def recording() -> Iterator[set[nn.Module]]:
    """Yield the set that fills with the modules that call `attend` meanwhile."""
    seen: set[nn.Module] = set()
    token = _seen.set(seen)
    try:
        yield seen
    finally:
        _seen.reset(token)


@contextmanager
def lowered(model: PreTrainedModel) -> Iterator[set[nn.Module]]:
    """Give the model this attention while the context lasts; yield the modules that used it."""
    previous = model.config._attn_implementation  # noqa: SLF001 - transformers has no getter
    model.set_attn_implementation(NAME)
    try:
        with recording() as seen:
            yield seen
    finally:
        model.set_attn_implementation(previous)


def _refuse_unsupported(
    module: nn.Module,
    attention_mask: torch.Tensor | None,
    dropout: float,
    keywords: dict[str, object],
) -> None:
    if attention_mask is None:
        raise LoweringRefused(f"{_name(module)} received no mask, so it would ignore padding")
    if dropout:
        raise LoweringRefused(f"{_name(module)} applies dropout; the model is in training mode")
    if getattr(module, "is_causal", False) or keywords.get("is_causal"):
        raise LoweringRefused(f"{_name(module)} is causal; only bidirectional encoders are fused")
    unknown = sorted(
        name
        for name, value in keywords.items()
        if name not in INERT and value is not None and value is not False
    )
    if unknown:
        raise LoweringRefused(
            f"{_name(module)} passes {', '.join(unknown)} to its attention, "
            f"which {OP_TYPE} would ignore"
        )


def _name(module: nn.Module) -> str:
    return type(module).__name__


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, refuse_mask)
