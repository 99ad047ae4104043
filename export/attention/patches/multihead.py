"""torch's own `nn.MultiheadAttention`, on which pooling heads such as SigLIP's are built.

It computes its scores as rows * heads matrices, so that its Softmax has rank 3 and no check for one
of rank 4 sees it.
"""

from typing import Any

import torch
from torch import nn

from export.attention import lowering
from export.errors import LoweringRefused

_BATCHED_RANK = 3


def _attend(  # noqa: PLR0917 - the signature of what it replaces
    self: nn.MultiheadAttention,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    key_padding_mask: torch.Tensor | None = None,
    need_weights: bool = True,  # noqa: ARG001, FBT001, FBT002 - who wants weights finds None
    attn_mask: torch.Tensor | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    if key_padding_mask is not None or attn_mask is not None:
        raise LoweringRefused("nn.MultiheadAttention with a mask is not lowered")
    _refuse_variants(self, query)
    queries, keys, values = (
        _heads(self, given, index) for index, given in enumerate((query, key, value))
    )
    attended, _weights = lowering.attend(self, queries, keys, values, None)
    result = self.out_proj(attended.flatten(2))
    return (result if self.batch_first else result.transpose(0, 1)), None


def _heads(module: nn.MultiheadAttention, given: torch.Tensor, index: int) -> torch.Tensor:
    """Return one of query, key and value as (rows, heads, length, head size)."""
    # The three projections lie one below the other in one matrix.
    place = slice(index * module.embed_dim, (index + 1) * module.embed_dim)
    bias = None if module.in_proj_bias is None else module.in_proj_bias[place]
    states = given if module.batch_first else given.transpose(0, 1)
    projected = nn.functional.linear(states, module.in_proj_weight[place], bias)
    rows, length, _ = projected.shape
    return projected.view(rows, length, module.num_heads, -1).transpose(1, 2)


def _refuse_variants(module: nn.MultiheadAttention, query: torch.Tensor) -> None:
    if query.ndim != _BATCHED_RANK:
        raise LoweringRefused("nn.MultiheadAttention over one sequence without rows is not lowered")
    if module.in_proj_weight is None or module.bias_k is not None or module.add_zero_attn:
        raise LoweringRefused(
            "nn.MultiheadAttention with keys of another width or with added keys is not lowered"
        )


PATCHES: dict[type[Any], Any] = {nn.MultiheadAttention: _attend}
