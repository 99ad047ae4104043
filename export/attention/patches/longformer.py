"""Longformer: a window as a band in the bias, and global tokens by a second fused node.

Global tokens see their whole segment, through projections of their own, and all tokens of the
segment see them. Which tokens are global depends on the head on top of the model.
"""

from typing import Any

import torch
from transformers.models.longformer.modeling_longformer import (
    LongformerBaseModelOutputWithPooling,
    LongformerForQuestionAnswering,
    LongformerForSequenceClassification,
    LongformerModel,
    LongformerSelfAttention,
)

from export.attention import masks
from export.attention.patches import segments
from export.errors import LoweringRefused


def _encode(
    self: LongformerModel,
    input_ids: torch.Tensor,
    *,
    global_attention_mask: torch.Tensor | None = None,
    token_type_ids: torch.Tensor | None = None,
    position_ids: torch.Tensor | None = None,
    **_: object,
) -> LongformerBaseModelOutputWithPooling:
    """Run the layers without padding to a multiple of the window and without asking the data."""
    states = self.embeddings(
        input_ids=input_ids, position_ids=position_ids, token_type_ids=token_type_ids
    )
    is_global = _global_tokens(input_ids, global_attention_mask, self.config.sep_token_id)
    for layer in self.encoder.layer:
        (states,) = layer(states, is_index_global_attn=is_global)
    pooled = None if self.pooler is None else self.pooler(states)
    return LongformerBaseModelOutputWithPooling(last_hidden_state=states, pooler_output=pooled)


def _global_tokens(
    input_ids: torch.Tensor, asked: torch.Tensor | None, separator: int | None
) -> torch.Tensor | None:
    """Return which tokens are global, (rows, length), or None where the head wants none.

    What the heads do for a row of one sequence is done here for every segment; the mask that they
    pass when they run themselves says the same of the first sequence only.
    """
    head = masks.current.get().model
    if isinstance(head, LongformerForSequenceClassification):
        return _is_first()
    if isinstance(head, LongformerForQuestionAnswering):
        if separator is None:
            raise LoweringRefused("LongformerForQuestionAnswering has no sep_token_id")
        return _is_question(input_ids, separator)
    return None if asked is None else asked > 0


def _is_first() -> torch.Tensor:
    segment_ids = segments.ids()
    before = torch.nn.functional.pad(segment_ids, (1, 0))[..., :-1]
    return (segment_ids != before) & (segment_ids > 0)


def _is_question(input_ids: torch.Tensor, separator: int) -> torch.Tensor:
    """Return the tokens with no separator before or at them in their segment."""
    so_far = segments.together() & (segments.offsets() <= 0)
    is_separator = (input_ids == separator).unsqueeze(1)
    return ~(so_far & is_separator).any(dim=2) & (segments.ids() > 0)


def _attend(
    self: LongformerSelfAttention,
    hidden_states: torch.Tensor,
    *_: object,
    is_index_global_attn: torch.Tensor | None = None,
    **__: object,
) -> tuple[torch.Tensor]:
    reach = self.one_sided_attn_window_size
    bias = segments.once(f"window {reach}", lambda: _window_bias(reach, is_index_global_attn))
    local = _fused(self, hidden_states, (self.query, self.key, self.value), bias)
    if is_index_global_attn is None:
        return (local,)
    projections = (self.query_global, self.key_global, self.value_global)
    whole = _fused(self, hidden_states, projections, segments.bias())
    return (torch.where(is_index_global_attn.unsqueeze(2), whole, local),)


def _window_bias(reach: int, is_global: torch.Tensor | None) -> torch.Tensor:
    """Return the bias (rows, 1, length, length) of tokens that see `reach` to either side."""
    near = segments.offsets().abs() <= reach
    visible = near if is_global is None else near | is_global.unsqueeze(1)
    return torch.where(segments.together() & visible, 0.0, masks.MASKED).unsqueeze(1)


def _fused(
    attention: LongformerSelfAttention,
    states: torch.Tensor,
    projections: tuple[torch.nn.Linear, ...],
    bias: torch.Tensor,
) -> torch.Tensor:
    query, key, value = (
        segments.heads(project(states), attention.num_heads) for project in projections
    )
    return segments.attend(attention, (query, key, value), bias, attention.head_dim**-0.5)


PATCHES: dict[type[Any], Any] = {LongformerModel: _encode, LongformerSelfAttention: _attend}
