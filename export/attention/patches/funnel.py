"""Funnel Transformer: pooling between blocks, done in place so that packed segments stay apart.

A pooled token stays where the first of the tokens it stands for is; the others are hidden from then
on. Distances then need no stride, at the price of computing hidden tokens too. transformers cannot
run a sequence of 2 ** (blocks - 1) tokens or fewer; this can.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.funnel.modeling_funnel import (
    FunnelDecoder,
    FunnelEncoder,
    FunnelRelMultiheadAttention,
)

from export.attention import masks
from export.attention.patches import distances, segments
from export.errors import LoweringRefused

_FIRST_TYPE = 2
"""Token type of the first token of a sequence, which counts as of every type."""


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What a layer needs besides states, in place of transformers' tuple."""

    types: torch.Tensor
    """(rows, length)."""
    bias: torch.Tensor
    """(rows, 1, length, length)."""


def _encode(
    self: FunnelEncoder,
    inputs_embeds: torch.Tensor,
    *_: object,
    token_type_ids: torch.Tensor,
    **__: object,
) -> BaseModelOutput:
    config = self.config
    if not (config.separate_cls and config.truncate_seq):
        raise LoweringRefused("Funnel without separate_cls and truncate_seq pools otherwise")
    stride, states, bias = 1, inputs_embeds, _bias(1)
    outputs = [states]
    blocks = cast("list[nn.ModuleList]", list(self.blocks))
    repeats = cast("list[int]", config.block_repeats)
    for index, block in enumerate(blocks):
        keys, seen = states, bias
        if index > 0:
            states = _pool(states, stride, config.pooling_type)
            stride *= 2
            bias = _bias(stride)
        if not config.pool_q_only:
            keys, seen = states, bias
        for layer in (part for part in block for _ in range(repeats[index])):
            (states,) = layer(states, keys, keys, _Inputs(token_type_ids, seen))
            outputs.append(states)
            keys, seen = states, bias
    return BaseModelOutput(last_hidden_state=states, hidden_states=tuple(outputs))


def _decode(
    self: FunnelDecoder,
    final_hidden: torch.Tensor,
    first_block_hidden: torch.Tensor,
    *_: object,
    token_type_ids: torch.Tensor,
    **__: object,
) -> BaseModelOutput:
    stride = 2 ** (len(self.config.block_sizes) - 1)
    states = _spread(final_hidden, stride) + first_block_hidden
    inputs = _Inputs(token_type_ids, _bias(1))
    for layer in self.layers:
        (states,) = layer(states, states, states, inputs)
    return BaseModelOutput(last_hidden_state=states)


def _number(stride: int) -> torch.Tensor:
    """Return the pooled token that stands for each place, (rows, length): 0 is the first alone."""
    return torch.div(segments.places() - 1, stride, rounding_mode="floor") + 1


def _count(stride: int) -> torch.Tensor:
    """Return how many pooled tokens the segment of each place has, (rows, length)."""
    tokens = segments.once("tokens", lambda: segments.together().sum(dim=2))
    return torch.div(tokens + stride - 1, stride, rounding_mode="floor")


def _bias(stride: int) -> torch.Tensor:
    """Return the bias of keys pooled to this stride, (rows, 1, length, length)."""

    def build() -> torch.Tensor:
        after = segments.places() - 1
        in_step = (after < 0) | (torch.remainder(after, stride) == 0)
        present = in_step & (_number(stride) < _count(stride))
        visible = segments.together() & present.unsqueeze(1)
        return torch.where(visible, 0.0, masks.MASKED).unsqueeze(1)

    return segments.once(f"Funnel stride {stride}", build)


def _pool(states: torch.Tensor, stride: int, kind: str) -> torch.Tensor:
    """Join tokens 2i - 1 and 2i of this stride into token i, at the place of the former.

    The first token stays alone; the last is left out, alone or not.
    """
    length = states.shape[1]
    second = nn.functional.pad(states, (0, 0, 0, stride)).narrow(1, stride, length)
    has_second = (segments.places() > 0) & (2 * _number(2 * stride) < _count(stride) - 1)
    joined = (states + second) / 2 if kind == "mean" else torch.maximum(states, second)
    return torch.where(has_second.unsqueeze(2), joined, states)


def _spread(states: torch.Tensor, stride: int) -> torch.Tensor:
    """Give every place the pooled token that stands for it; zeros where that was left out."""

    def where() -> segments.Picked:
        after = segments.places() - 1
        back = torch.where(after < 0, 0, torch.remainder(after, stride))
        columns = torch.arange(states.shape[1]) - back
        return columns.unsqueeze(2), (_number(stride) < _count(stride)).unsqueeze(2)

    return segments.pick(states, "Funnel spread", where).squeeze(2)


def _attend(
    self: FunnelRelMultiheadAttention,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_inputs: _Inputs,
    *_: object,
    **__: object,
) -> tuple[torch.Tensor]:
    heads = self.config.n_head
    queries = self.q_head(query)
    to_position = segments.heads(queries + self.r_r_bias.flatten(), heads)
    to_type = segments.heads(queries + self.r_s_bias.flatten(), heads)
    scores = distances.by_pair(to_position @ _positions(self))
    scores = scores + _types(self, to_type, attention_inputs.types)
    bias = scores * (_not_first() * self.scale) + attention_inputs.bias
    parts = (
        segments.heads(queries + self.r_w_bias.flatten(), heads),
        segments.heads(self.k_head(key), heads),
        segments.heads(self.v_head(value), heads),
    )
    attended = self.post_proj(segments.attend(self, parts, bias, self.scale))
    return (self.layer_norm(query + attended),)


def _positions(attention: FunnelRelMultiheadAttention) -> torch.Tensor:
    """Return the projected embedding of every distance, (1, heads, size, 2 * length)."""
    width, heads, size = attention.r_kernel.shape

    def build() -> torch.Tensor:
        frequencies = 1 / (10000 ** (torch.arange(width // 2) / (width // 2)))
        # query - key.
        angles = -distances.steps().unsqueeze(1) * frequencies
        return torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)

    embedded = segments.once("Funnel positions", build)
    projected = embedded @ attention.r_kernel.view(width, heads * size)
    return projected.view(-1, heads, size).permute(1, 2, 0).unsqueeze(0)


def _types(
    attention: FunnelRelMultiheadAttention, query: torch.Tensor, types: torch.Tensor
) -> torch.Tensor:
    """Return the scores of other and same token type, (rows, heads, length, length)."""
    # (2, heads, size) to (1, heads, size, 2).
    by_type = query @ attention.seg_embed.permute(1, 2, 0).unsqueeze(0)

    def build() -> torch.Tensor:
        first = types == _FIRST_TYPE
        same = types.unsqueeze(2) == types.unsqueeze(1)
        return (same | first.unsqueeze(2) | first.unsqueeze(1)).unsqueeze(1)

    return torch.where(segments.once("same type", build), by_type[..., 1:], by_type[..., :1])


def _not_first() -> torch.Tensor:
    """Return 1 for pairs without the first token of a segment, (rows, 1, length, length)."""

    def build() -> torch.Tensor:
        later = segments.places() > 0
        return (later.unsqueeze(2) & later.unsqueeze(1)).unsqueeze(1).float()

    return segments.once("not first", build)


PATCHES: dict[type[Any], Any] = {
    FunnelDecoder: _decode,
    FunnelEncoder: _encode,
    FunnelRelMultiheadAttention: _attend,
}
