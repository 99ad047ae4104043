"""Scores by the distance between two tokens, without an index for every pair.

A row of `length` tokens has 2 * length - 1 distances. Scores of every token for every distance
become scores of pairs by reading the same memory with rows one element shorter (Dai et al. 2019,
arXiv:1901.02860, appendix B), which costs two copies. On CPU, with 12 heads of size 64 and 512
buckets, that took 0.2 to 0.7 times as long as an index for every pair at 16 to 256 tokens, and 1.3
times as long at 512.
"""

from collections.abc import Callable

import torch
from torch.utils._python_dispatch import _disable_current_modes

from export.attention.patches import segments


def buckets(assign: Callable[[torch.Tensor], torch.Tensor], limit: int) -> torch.Tensor:
    """Return the bucket of every distance of a row, (2 * length,), in the order of `by_pair`.

    Distances are column - row; beyond `limit` they take its bucket. `assign` runs here, in PyTorch:
    a logarithm in the graph could round to the other side of a bucket's edge.
    """
    with _disable_current_modes():
        assigned = assign(torch.arange(-limit, limit + 1)).tolist()
    return torch.tensor(assigned).index_select(0, steps().clamp(-limit, limit) + limit)


def steps() -> torch.Tensor:
    """Return every distance of a row, (2 * length,): column - row in the order of `by_pair`.

    The last is one more than there can be, and not used.
    """
    length = segments.ids().shape[1]
    return torch.arange(2 * length) - (length - 1)


def products(states: torch.Tensor, positions: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """Return the scores of (rows, heads, length, size) for positions (1, heads, buckets, size).

    `found` comes from `buckets`; the answer is (rows, heads, row, column).
    """
    return by_pair(states @ positions.index_select(2, found).transpose(2, 3))


def by_pair(scores: torch.Tensor) -> torch.Tensor:
    """Turn (rows, heads, length, 2 * length) by distance into (rows, heads, row, column).

    Element [i, length - 1 - i + j] of the first is element [i, j] of the second. In the flat
    memory of a head both lie at i * (2 * length - 1) + length - 1 + j.
    """
    rows, heads, length, steps = scores.shape
    flat = scores.reshape(rows, heads, length * steps)
    shorter = flat[..., : length * (steps - 1)].reshape(rows, heads, length, steps - 1)
    return shorter[..., length - 1 : 2 * length - 1]
