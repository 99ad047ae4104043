"""What patched modules need of the sequences in a row, built once for each trace.

Everything that lets one token act on another goes through here, so that a packed or padded sequence
gives what it gives alone.
"""

from collections.abc import Callable

import torch
from torch import nn

from export.attention import lowering, masks
from export.errors import LoweringRefused

Picked = tuple[torch.Tensor, torch.Tensor]
"""Columns and whether there is a token to pick, (rows | 1, length, number)."""


def once(key: str, build: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Return what `build` returned when this trace first asked for `key`."""
    shared = masks.current.get().shared
    if key not in shared:
        shared[key] = build()
    return shared[key]


def ids() -> torch.Tensor:
    """Return the segment of each token, (rows, length); 0 is padding.

    Raises:
        LoweringRefused: the model is traced without segments.
    """
    segment_ids = masks.current.get().segment_ids
    if segment_ids is None:
        raise LoweringRefused("patched attention needs segment_ids")
    return segment_ids


def bias() -> torch.Tensor:
    """Return the additive bias between segments, (rows, 1, length, length)."""
    return once("segment bias", lambda: masks.segment_bias(ids()))


def together() -> torch.Tensor:
    """Return which pairs of tokens are of one segment, (rows, length, length)."""
    return once("together", lambda: ids().unsqueeze(2) == ids().unsqueeze(1))


def offsets() -> torch.Tensor:
    """Return key - query for every pair of places, (length, length)."""

    def build() -> torch.Tensor:
        columns = torch.arange(ids().shape[1])
        return columns - columns.unsqueeze(1)

    return once("offsets", build)


def places() -> torch.Tensor:
    """Return the place of each token in its segment, (rows, length), from 0.

    Padding before and behind the segments of a row counts as one segment with a gap.
    """

    def build() -> torch.Tensor:
        # The first of equal values, in ONNX as in PyTorch.
        first = together().int().argmax(dim=2)
        return torch.arange(ids().shape[1]) - first

    return once("places", build)


def pick(states: torch.Tensor, key: str, where: Callable[[], Picked]) -> torch.Tensor:
    """Return tokens by column, (rows, length, width) to (rows, length, number, width).

    Zeros stand where there is no such token, as they do outside a sequence that is alone. `where`
    is asked once for each `key`.
    """
    rows, length, width = states.shape
    tokens = torch.cat([states.reshape(rows * length, width), states.new_zeros((1, width))])
    found = once(key, lambda: _flat(*where()))
    return tokens.index_select(0, found).view(rows, length, -1, width)


def windows(states: torch.Tensor, size: int) -> torch.Tensor:
    """Return each token with its neighbours: (rows, length, width) to (rows, length, size, width).

    The token itself is in the middle; zeros stand where its segment has no such neighbour.
    """

    def where() -> Picked:
        rows, length = ids().shape
        columns = torch.arange(length).unsqueeze(1) + (torch.arange(size) - size // 2)
        inside = columns.clamp(0, length - 1)
        segments = ids().index_select(1, inside.flatten()).view(rows, length, size)
        return inside, (segments == ids().unsqueeze(2)) & (columns == inside)

    return pick(states, f"windows of {size}", where)


def _flat(columns: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """Return places among the tokens of all rows; one past the last stands for none."""
    rows, length = ids().shape
    starts = (torch.arange(rows) * length).view(rows, 1, 1)
    return torch.where(there, starts + columns, rows * length).flatten()


def attend(
    module: nn.Module,
    parts: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    bias: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """Emit the fused node for `module`; return its answer as (rows, length, hidden).

    The parts are query, key and value, (rows, heads, length, head size); the bias is (rows | 1,
    heads | 1, length, length).
    """
    masks.current.get().modules.append(module)
    return lowering.multi_head(*parts, bias, scale).flatten(2)


def heads(states: torch.Tensor, number: int) -> torch.Tensor:
    """Split (rows, length, hidden) into (rows, heads, length, head size)."""
    rows, length, hidden = states.shape
    return states.view(rows, length, number, hidden // number).transpose(1, 2)
