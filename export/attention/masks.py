"""The additive bias between tokens, built once per trace and kind of attention.

transformers describes every mask as a function of (batch, head, query, key) indices: causal,
windowed, bidirectional, or a combination. Here that function is evaluated on all pairs of places
and joined with the segments, so that one graph serves padded, packed and single rows. Within a
segment distances between places are distances between positions, so index arithmetic stays true.
"""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import reduce
from typing import cast

import torch
from torch import nn
from torch._subclasses.fake_tensor import unset_fake_temporarily
from transformers.masking_utils import bidirectional_mask_function

MASKED = -1e4
"""Bias between tokens that do not attend: exp underflows to 0, and FP16 can hold it."""

MaskFunction = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(slots=True)
class Trace:
    """What one trace has been given and has seen so far."""

    segment_ids: torch.Tensor | None = None
    """(rows, length); 0 is padding, 1..k are sequences. None where rows are whole."""
    causal_masks: list[torch.Tensor] = field(default_factory=list)
    modules: list[nn.Module] = field(default_factory=list)
    """The module behind each fused node; one that runs twice is there twice."""
    model: nn.Module | None = None
    """All of what is traced: some heads change how the backbone under them attends."""
    shared: dict[str, torch.Tensor] = field(default_factory=dict)
    """What patched modules build once and use in every layer."""

    def is_causal(self, mask: torch.Tensor | None) -> bool:
        """Whether a mask was built here from a function under which no token sees a later one."""
        return any(mask is known for known in self.causal_masks)


# transformers annotates it for single numbers and calls it with tensors.
_EVERYWHERE = cast("MaskFunction", bidirectional_mask_function)

current: ContextVar[Trace] = ContextVar("the trace that runs")


def segment_bias(segment_ids: torch.Tensor) -> torch.Tensor:
    """Return the additive bias (rows, 1, length, length): 0 inside a segment, `MASKED` across.

    Padding (segment 0) attends padding, so no row of the Softmax is fully masked.
    """
    return torch.where(_same_segment(segment_ids), 0.0, MASKED)


def build_mask(
    *,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    mask_function: MaskFunction,
    attention_mask: torch.Tensor | None = None,
    device: torch.device | str = "cpu",
    **_: object,
) -> torch.Tensor | None:
    """Return the bias (rows | 1, 1, queries, keys), or None where every token sees every other.

    The signature is that of `AttentionMaskInterface`; what is not named concerns other kernels.
    """
    trace = current.get()
    parts = []
    if mask_function is not _EVERYWHERE:
        queries = torch.arange(q_length, device=device).view(1, 1, q_length, 1) + q_offset
        keys = torch.arange(kv_length, device=device).view(1, 1, 1, kv_length) + kv_offset
        zero = torch.zeros((), dtype=torch.long, device=device)
        parts.append(mask_function(zero, zero, queries, keys))
    if trace.segment_ids is not None:
        parts.append(_same_segment(trace.segment_ids))
    elif attention_mask is not None:
        # The fused operator takes no bias that is broadcast over queries.
        parts.append(attention_mask.bool().unsqueeze(1).unsqueeze(1).expand(-1, 1, q_length, -1))
    if not parts:
        return None
    mask = torch.where(reduce(torch.logical_and, parts), 0.0, MASKED)
    if not _sees_later(mask_function):
        trace.causal_masks.append(mask)
    return mask


def _same_segment(segment_ids: torch.Tensor) -> torch.Tensor:
    # Not by indices with None, each of which would leave a Slice of everything behind.
    rows = segment_ids.unsqueeze(1)
    return rows.unsqueeze(3) == rows.unsqueeze(2)


def _sees_later(mask_function: MaskFunction) -> bool:
    """Ask the function itself whether the first token attends the second."""
    with unset_fake_temporarily():
        zero, one = torch.tensor(0), torch.tensor(1)
        return bool(mask_function(zero, zero, zero, one))
