"""The attention function that becomes one fused node.

While it is registered with transformers, every attention module that goes through the
`AttentionInterface` calls `attend`, which emits one fused operator instead of matrix products and a
Softmax: `com.microsoft::MultiHeadAttention`, or `com.microsoft::GroupQueryAttention` where heads
share keys or scores are capped. Nothing is matched afterwards. What neither operator can express is
refused here, because an ignored keyword exports without complaint and answers wrongly.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from export.attention import masks
from export.attention.masks import Trace
from export.errors import LoweringRefused
from export.graph.fused import DOMAIN, GROUP_QUERY, MULTI_HEAD

NAME = "heed_fused_attention"
"""Name of this attention implementation inside transformers."""

INERT = frozenset(
    {
        "deterministic",
        "is_causal",
        "output_hidden_states",
        "position_ids",
        "return_dict",
        "sliding_window",
        "use_cache",
    }
)
"""Keywords that carry a value but mean nothing here: what they stand for is in the embeddings or in
the mask, as it is for transformers' own eager attention, or concerns what the model hands out."""


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    position_bias: torch.Tensor | None = None,
    **keywords: Any,  # noqa: ANN401 - transformers passes whatever an architecture adds
) -> tuple[torch.Tensor, None]:
    """Emit the fused node for one module, in the signature of `AttentionInterface`.

    Query, key and value arrive as (rows, heads, length, head size); the result leaves as
    (rows, length, heads, head size).

    Raises:
        LoweringRefused: the module needs something that the operators would not do.
    """
    _refuse_unsupported(module, attention_mask, dropout, keywords)
    trace = masks.current.get()
    causal = trace.is_causal(attention_mask)
    bias = attention_mask
    if position_bias is not None:
        bias = position_bias if bias is None else position_bias + bias
    scale = query.shape[3] ** -0.5 if scaling is None else float(scaling)
    trace.modules.append(module)
    if key.shape[1] == query.shape[1] and not softcap:
        return multi_head(query, key, value, bias, scale), None
    if bias is None:
        raise LoweringRefused(f"{_name(module)} shares key heads without a mask")
    return group_query(query, key, value, bias, scale, softcap or 0.0, causal=causal), None


def multi_head(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None,
    scale: float,
) -> torch.Tensor:
    """Emit `MultiHeadAttention`; shapes as in `attend`, the bias (rows | 1, heads | 1, S, T)."""
    rows, heads, length, _ = query.shape
    fused = torch.onnx.ops.symbolic(
        f"{DOMAIN}::{MULTI_HEAD}",
        [_flat(query), _flat(key), _flat(value), None, None, bias],
        {"num_heads": heads, "scale": scale},
        dtype=query.dtype,
        shape=(rows, length, heads * value.shape[3]),
        version=1,
    )
    return fused.view(rows, length, heads, value.shape[3])


def group_query(  # noqa: PLR0917 - the operator's own attributes
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor,
    scale: float,
    softcap: float,
    *,
    causal: bool,
) -> torch.Tensor:
    """Emit `GroupQueryAttention` without a cache; shapes as in `multi_head`.

    The bias holds every mask. `causal` only lets the kernel skip what the bias hides anyway.
    """
    rows, heads, length, _ = query.shape
    ones = torch.ones((rows, length), dtype=torch.int32)
    lengths = ones.sum(dim=1, dtype=torch.int32) - 1
    total = ones[0].sum(dtype=torch.int32)
    fused = torch.onnx.ops.symbolic(
        f"{DOMAIN}::{GROUP_QUERY}",
        [*map(_flat, (query, key, value)), None, None, lengths, total, None, None, None, bias],
        {
            "num_heads": heads,
            "kv_num_heads": key.shape[1],
            "scale": scale,
            "softcap": float(softcap),
            "causal": int(causal),
        },
        dtype=query.dtype,
        shape=(rows, length, heads * value.shape[3]),
        version=1,
    )
    return fused.view(rows, length, heads, value.shape[3])


@contextmanager
def recording() -> Iterator[Trace]:
    """Yield the trace that collects what `attend` sees meanwhile."""
    trace = Trace()
    token = masks.current.set(trace)
    try:
        yield trace
    finally:
        masks.current.reset(token)


@contextmanager
def lowered(model: PreTrainedModel) -> Iterator[Trace]:
    """Give the model this attention while the context lasts; yield what it is seen to do."""
    previous = model.config._attn_implementation  # noqa: SLF001 - transformers has no getter
    model.set_attn_implementation(NAME)
    try:
        with recording() as trace:
            trace.model = model
            yield trace
    finally:
        model.set_attn_implementation(previous)


def _flat(part: torch.Tensor) -> torch.Tensor:
    """(rows, heads, length, head size) to (rows, length, hidden)."""
    return part.transpose(1, 2).flatten(2)


def _refuse_unsupported(
    module: nn.Module,
    attention_mask: torch.Tensor | None,
    dropout: float,
    keywords: dict[str, object],
) -> None:
    if attention_mask is None and masks.current.get().segment_ids is not None:
        raise LoweringRefused(f"{_name(module)} received no mask, so it would ignore padding")
    if attention_mask is None and keywords.get("is_causal"):
        raise LoweringRefused(f"{_name(module)} is causal but received no mask that says so")
    if dropout:
        raise LoweringRefused(f"{_name(module)} applies dropout; the model is in training mode")
    unknown = sorted(
        name
        for name, value in keywords.items()
        if name not in INERT and value is not None and value is not False
    )
    if unknown:
        raise LoweringRefused(
            f"{_name(module)} passes {', '.join(unknown)} to its attention, "
            "which the fused operators would ignore"
        )


def _name(module: nn.Module) -> str:
    return type(module).__name__


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, masks.build_mask)
