"""MPNet: one relative position bias for all layers, from 32 logarithmic buckets."""

from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder, MPNetSelfAttention

from export.attention.patches import distances, segments

_FARTHEST = 128
"""From here on all distances share a bucket; `MPNetEncoder.relative_position_bucket` fixes it."""


def _encode(
    self: MPNetEncoder,
    hidden_states: torch.Tensor,
    *_: object,
    **__: object,
) -> BaseModelOutput:
    bias = _position_bias(self) + segments.bias()
    for layer in self.layer:
        (hidden_states,) = layer(hidden_states, position_bias=bias)
    return BaseModelOutput(last_hidden_state=hidden_states)


def _position_bias(encoder: MPNetEncoder) -> torch.Tensor:
    """Return the bias of every head between every two places, (1, heads, length, length)."""
    found = distances.buckets(encoder.relative_position_bucket, _FARTHEST)
    by_distance = encoder.relative_attention_bias(found).transpose(0, 1)
    length = segments.ids().shape[1]
    return distances.by_pair(by_distance.unsqueeze(1).expand(-1, length, -1).unsqueeze(0))


def _attend(
    self: MPNetSelfAttention,
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001 - the bias holds it
    position_bias: torch.Tensor,
    **_: object,
) -> tuple[torch.Tensor]:
    query, key, value = (
        segments.heads(project(hidden_states), self.num_attention_heads)
        for project in (self.q, self.k, self.v)
    )
    scale = self.attention_head_size**-0.5
    return (self.o(segments.attend(self, (query, key, value), position_bias, scale)),)


PATCHES: dict[type[Any], Any] = {MPNetEncoder: _encode, MPNetSelfAttention: _attend}
