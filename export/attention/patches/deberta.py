"""DeBERTa (v1): disentangled attention with one projection for query, key and value."""

from typing import Any

import torch
from transformers.models.deberta.modeling_deberta import DebertaLayerNorm, DisentangledSelfAttention

from export.attention.patches import disentangled, segments
from export.attention.patches.disentangled import Buckets
from export.errors import LoweringRefused


def _attend(
    self: DisentangledSelfAttention,
    hidden_states: torch.Tensor,
    *_: object,
    query_states: torch.Tensor | None = None,
    rel_embeddings: torch.Tensor | None = None,
    **__: object,
) -> tuple[torch.Tensor, None]:
    if query_states is not None:
        raise LoweringRefused("DisentangledSelfAttention is given queries of another layer")
    if self.talking_head:
        raise LoweringRefused("DisentangledSelfAttention mixes heads around its Softmax")
    heads, size = self.num_attention_heads, self.attention_head_size
    scale = (size * (1 + len(self.pos_att_type))) ** -0.5
    # Each head has its query, key and value side by side.
    parts = self.in_proj(hidden_states).unflatten(2, (heads, 3 * size))
    query = (parts[..., :size] + self.q_bias.view(heads, size)).transpose(1, 2)
    key = parts[..., size : 2 * size].transpose(1, 2)
    value = (parts[..., 2 * size :] + self.v_bias.view(heads, size)).transpose(1, 2)
    bias = segments.bias()
    if self.relative_attention and rel_embeddings is not None:
        buckets, positions = _buckets(self), rel_embeddings.unsqueeze(0)
        if "c2p" in self.pos_att_type:
            keys = segments.heads(self.pos_proj(positions), heads) * scale
            bias = disentangled.content_to_position(query, keys, buckets) + bias
        if "p2c" in self.pos_att_type:
            queries = segments.heads(self.pos_q_proj(positions), heads) * scale
            bias = disentangled.position_to_content(key, queries, buckets) + bias
    return segments.attend(self, (query, key, value), bias, scale), None


def _buckets(attention: DisentangledSelfAttention) -> Buckets:
    span = attention.max_relative_positions
    return Buckets(lambda steps: (steps + span).clamp(0, 2 * span - 1), span)


def _normalize(self: DebertaLayerNorm, hidden_states: torch.Tensor) -> torch.Tensor:
    """Compute what the module spells out in nine operations."""
    shape = self.weight.shape
    return torch.nn.functional.layer_norm(
        hidden_states, shape, self.weight, self.bias, self.variance_epsilon
    )


PATCHES: dict[type[Any], Any] = {
    DisentangledSelfAttention: _attend,
    DebertaLayerNorm: _normalize,
}
