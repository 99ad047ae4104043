"""Attention probabilities of one sequence, put together as a caller asks. Pure NumPy.

A layer is (heads, tokens, tokens): row i says how much token i attends to each token and sums to 1.
Layers may differ in their number of heads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from server.errors import InvalidRequest

Weights = NDArray[np.float32]


class Method(Enum):
    """How layers and heads become maps."""

    LAYERS_HEADS = "layers_heads"
    MEAN = "mean"
    ROLLOUT = "rollout"


@dataclass(frozen=True, slots=True)
class AttentionMap:
    """How much each token attends to each other, [tokens x tokens]."""

    weights: Weights
    layer: int | None = None
    """None where layers were put together."""
    head: int | None = None
    """None where heads were put together."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Layers, and the heads of each, that a call asks about; both rise."""

    layers: tuple[int, ...]
    heads: tuple[tuple[int, ...], ...]
    """Of each layer in `layers`."""

    def num_maps(self, method: Method) -> int:
        """Return how many maps one sequence is answered with."""
        return sum(map(len, self.heads)) if method is Method.LAYERS_HEADS else 1


def choose(num_heads: Sequence[int], layers: Sequence[int], heads: Sequence[int]) -> Chosen:
    """Return what a call asks about; nothing given means everything.

    Args:
        num_heads: of each layer of the model.
        layers: wanted, counted from 0, in any order.
        heads: wanted of each of them, counted from 0, in any order.

    Raises:
        InvalidRequest: a layer or head that the model does not have, or one that is named twice.
    """
    _require_members("layers", layers, len(num_heads))
    wanted = tuple(sorted(layers)) or tuple(range(len(num_heads)))
    _require_members("heads", heads, min(num_heads[layer] for layer in wanted))
    all_heads = tuple(tuple(sorted(heads)) or tuple(range(num_heads[layer])) for layer in wanted)
    return Chosen(wanted, all_heads)


def explain(layers: Sequence[Weights], chosen: Chosen, method: Method) -> list[AttentionMap]:
    """Return the maps of one sequence, by layer and then by head, from all layers of a model."""
    picked = [
        _heads(layers[layer], heads)
        for layer, heads in zip(chosen.layers, chosen.heads, strict=True)
    ]
    if method is Method.MEAN:
        return [AttentionMap(mean(picked))]
    if method is Method.ROLLOUT:
        return [AttentionMap(rollout(picked))]
    # Copies: a view would keep all layers of the run alive until the answer is sent.
    return [
        AttentionMap(weights.copy(), layer, head)
        for layer, heads, maps in zip(chosen.layers, chosen.heads, picked, strict=True)
        for head, weights in zip(heads, maps, strict=True)
    ]


def mean(layers: Sequence[Weights]) -> Weights:
    """Return the mean over all heads of all layers."""
    total = np.zeros(layers[0].shape[1:], np.float32)
    for layer in layers:
        total += layer.sum(axis=0)
    return total / np.float32(sum(map(len, layers)))


def rollout(layers: Sequence[Weights]) -> Weights:
    """Return attention rollout: from each token of the last layer back to those of the first.

    The residual connection of a layer counts as much as its attention: 0.5 A + 0.5 I, where A is
    the mean over heads, and layers are multiplied (Abnar and Zuidema 2020, arXiv:2005.00928).
    """
    identity = np.eye(layers[0].shape[-1], dtype=np.float32)
    seen = identity
    for layer in layers:
        mixed = 0.5 * layer.mean(axis=0) + 0.5 * identity
        # Probabilities sum to 1 but for rounding, which would grow over many layers.
        mixed /= mixed.sum(axis=1, keepdims=True)
        # Not `@`: BLAS would spread it over cores that are busy with runs and wait for them, 113 ms
        # for 256 tokens instead of 2 (2 busy cores of an Intel Xeon, 2026-11-21).
        seen = np.einsum("ij,jk->ik", mixed, seen)
    return seen


def _heads(layer: Weights, heads: Sequence[int]) -> Weights:
    return layer if len(heads) == len(layer) else layer[list(heads)]


def _require_members(name: str, given: Sequence[int], count: int) -> None:
    for index in given:
        if index >= count:
            raise InvalidRequest(f"{name} names {index}; it must lie in 0 to {count - 1}")
    if len(set(given)) < len(given):
        raise InvalidRequest(f"{name} names one twice; name each once")
