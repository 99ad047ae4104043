"""DeBERTa-v2 and v3: disentangled attention with every flag of their configs.

Projections of positions shared with content or not, bucketed distances or not, either term alone.
The convolution of the largest v2 stays inside a segment.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.models.deberta_v2.modeling_deberta_v2 import (
    ConvLayer,
    DisentangledSelfAttention,
    make_log_bucket_position,
)

from export.attention.patches import disentangled, segments
from export.attention.patches.disentangled import Buckets
from export.errors import LoweringRefused

Projection = Callable[[torch.Tensor], torch.Tensor]


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
    terms = [term for term in ("c2p", "p2c") if term in self.pos_att_type]
    scale = (self.attention_head_size * (1 + len(terms))) ** -0.5
    split = partial(segments.heads, number=self.num_attention_heads)
    to_query, to_key = _projection(self.query_proj), _projection(self.key_proj)
    query, key = split(to_query(hidden_states)), split(to_key(hidden_states))
    value = split(self.value_proj(hidden_states))
    bias = segments.bias()
    if self.relative_attention and rel_embeddings is not None:
        buckets = _buckets(self)
        positions = rel_embeddings[: 2 * self.pos_ebd_size].unsqueeze(0)
        if "c2p" in terms:
            project = to_key if self.share_att_key else self.pos_key_proj
            keys = split(project(positions)) * scale
            bias = disentangled.content_to_position(query, keys, buckets) + bias
        if "p2c" in terms:
            project = to_query if self.share_att_key else self.pos_query_proj
            queries = split(project(positions)) * scale
            bias = disentangled.position_to_content(key, queries, buckets) + bias
    return segments.attend(self, (query, key, value), bias, scale), None


def _projection(linear: nn.Linear) -> Projection:
    """Return the layer as a function that uses one turned weight however often it is called."""
    weight, bias = linear.weight.t(), linear.bias
    return lambda states: states @ weight + bias


def _buckets(attention: DisentangledSelfAttention) -> Buckets:
    span, farthest = attention.pos_ebd_size, attention.max_relative_positions

    def assign(steps: torch.Tensor) -> torch.Tensor:
        if attention.position_buckets > 0:
            steps = make_log_bucket_position(steps, attention.position_buckets, farthest)
        return (steps.to(torch.long) + span).clamp(0, 2 * span - 1)

    return Buckets(assign, 2 * max(span, farthest))


def _convolve(
    self: ConvLayer,
    hidden_states: torch.Tensor,
    residual_states: torch.Tensor,
    *_: object,
) -> torch.Tensor:
    """Mix every token with its neighbours in the segment; padding keeps values nobody reads."""
    (size,) = self.conv.kernel_size
    neighbours = segments.windows(hidden_states, size).flatten(1, 2).transpose(1, 2)
    mixed = nn.functional.conv1d(
        neighbours, self.conv.weight, self.conv.bias, stride=size, groups=self.conv.groups
    )
    activate = ACT2FN[self.conv_act]
    normalized: torch.Tensor = self.LayerNorm(residual_states + activate(mixed.transpose(1, 2)))
    return normalized


PATCHES: dict[type[Any], Any] = {DisentangledSelfAttention: _attend, ConvLayer: _convolve}
