"""Disentangled attention (He et al. 2021, arXiv:2006.03654): what both DeBERTa patches share.

A score is content to content, which the fused node computes, plus content to position and position
to content, which go into its bias. Positions are projected embeddings of bucketed distances; they
depend on no input, so ONNX Runtime computes them once, at load.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from export.attention.patches import distances, segments


@dataclass(frozen=True, slots=True)
class Buckets:
    """Which row of the position embeddings a distance has."""

    assign: Callable[[torch.Tensor], torch.Tensor]
    """query - key -> row. Constant beyond `limit` on either side."""
    limit: int


def content_to_position(
    query: torch.Tensor, positions: torch.Tensor, buckets: Buckets
) -> torch.Tensor:
    """Return query[i] . positions[bucket of i - j] as (rows, heads, i, j).

    The query is (rows, heads, length, size), the positions (1, heads, buckets, size).
    """
    found = segments.once(
        "buckets of earlier keys",
        lambda: distances.buckets(lambda steps: buckets.assign(-steps), buckets.limit),
    )
    return distances.products(query, positions, found)


def position_to_content(
    key: torch.Tensor, positions: torch.Tensor, buckets: Buckets
) -> torch.Tensor:
    """Return key[j] . positions[bucket of i - j] as (rows, heads, i, j); shapes as above."""
    found = segments.once(
        "buckets of later queries", lambda: distances.buckets(buckets.assign, buckets.limit)
    )
    return distances.products(key, positions, found).transpose(2, 3)
