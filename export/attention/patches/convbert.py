"""ConvBERT: half of the heads attend, the other half convolve with kernels made from the tokens.

Both convolutions stay inside a segment. The kernels' Softmax is over neighbours, not over keys, so
it is kept, and kept apart from attention by its rank.
"""

from typing import Any

import torch
from transformers.models.convbert.modeling_convbert import ConvBertSelfAttention

from export.attention.patches import segments
from export.errors import LoweringRefused


def _attend(
    self: ConvBertSelfAttention,
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor | None = None,  # noqa: ARG001 - the bias holds it
    encoder_hidden_states: torch.Tensor | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    if encoder_hidden_states is not None:
        raise LoweringRefused("ConvBertSelfAttention attends to another model's states")
    projected = [project(hidden_states) for project in (self.query, self.key, self.value)]
    query, key, value = (segments.heads(part, self.num_attention_heads) for part in projected)
    scale = self.attention_head_size**-0.5
    attended = segments.attend(self, (query, key, value), segments.bias(), scale)
    kernels = _kernels(self, _separable(self, hidden_states) * projected[0])
    return torch.cat([attended, _convolve(self, hidden_states, kernels)], dim=2), None


def _separable(attention: ConvBertSelfAttention, states: torch.Tensor) -> torch.Tensor:
    """Return `key_conv_attn_layer`, (rows, length, heads * size): by channel, then by token."""
    layer = attention.key_conv_attn_layer
    # (width, 1, size) to (size, width).
    by_channel = layer.depthwise.weight.squeeze(1).t()
    mixed = (segments.windows(states, attention.conv_kernel_size) * by_channel).sum(dim=2)
    # (out, width, 1) to (out, width).
    by_token = layer.pointwise.weight.squeeze(2)
    return torch.nn.functional.linear(mixed, by_token, layer.bias.squeeze(1))


def _kernels(attention: ConvBertSelfAttention, states: torch.Tensor) -> torch.Tensor:
    """Return the weights of each token's neighbours, (rows, length, heads, neighbours)."""
    size, heads = attention.conv_kernel_size, attention.num_attention_heads
    rows, length, _ = states.shape
    scores = attention.conv_kernel_layer(states).view(rows, length * heads, size)
    return torch.softmax(scores, dim=2).view(rows, length, heads, size)


def _convolve(
    attention: ConvBertSelfAttention, states: torch.Tensor, kernels: torch.Tensor
) -> torch.Tensor:
    """Return the weighted sum of each token's neighbours, (rows, length, heads * size)."""
    neighbours = segments.windows(attention.conv_out_layer(states), attention.conv_kernel_size)
    rows, length, size, width = neighbours.shape
    heads = attention.num_attention_heads
    weights = kernels.transpose(2, 3).unsqueeze(4)
    by_head = neighbours.view(rows, length, size, heads, width // heads)
    return (by_head * weights).sum(dim=2).flatten(2)


PATCHES: dict[type[Any], Any] = {ConvBertSelfAttention: _attend}
