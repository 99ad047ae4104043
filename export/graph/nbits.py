"""Weights of four bits, activations in float: for decoders, whose single rows wait for memory.

`com.microsoft.MatMulNBits` (ONNX Runtime contrib operators, version 1): every column of a matrix in
blocks of `BLOCK` rows, each with a scale and a zero point. Rounding is to the nearest of the steps
between a block's smallest and largest weight, 0 always among them, or of steps over a part of that
reach where the squares of the errors are fewer: MiniLM keeps 0.974 of mean cosine, against 0.972
over the whole reach and 0.967 without a zero point. `accuracy_level` 4 rounds activations to eight
bits by block of a row inside the kernel. Pure, no torch.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

from export.graph import weights
from export.graph.fused import DOMAIN
from export.graph.linear import Linear
from export.graph.weights import Matrix

BITS, BLOCK = 4, 32
"""With blocks of 64 and more, sums of the CPU kernel depend in their last bit on how many rows
there are, and the rounding of the next layer makes that larger: batch-mates change the answer."""

_STEPS = 2**BITS - 1
_LEVEL = 4
"""Activations in eight bits: level 0 takes twice to four times as long for a single row."""

_PARTS = (1.0, 0.95, 0.9, 0.85, 0.8)
"""Of a block's reach, that the steps are spread over; weights outside take the last step."""

_AT_ONCE = 1 << 22
"""Weights rounded at a time: copies stay near 100 MB whatever the size of a matrix."""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix (inputs, outputs) in blocks along its inputs."""

    packed: Bytes
    """(outputs, blocks, BLOCK / 2): two weights a byte, the first in the lower half."""
    scales: NDArray[np.float32]
    """(outputs * blocks)."""
    zeros: Bytes
    """(outputs * half of the blocks, rounded up), packed like the weights."""


def quantize(model: ir.Model, *, keep: Collection[str] = ()) -> tuple[str, ...]:
    """Round the linear layers of a graph in place and return the names of their weights.

    Layers named in `keep`, and those whose inputs are no multiple of a block, stay in float.
    """
    layers = [
        one for one in weights.layers(model, keep) if weights.shape(one.weight)[0] % BLOCK == 0
    ]
    for layer in layers:
        _replace(model.graph, layer)
    if layers:
        model.opset_imports[DOMAIN] = 1
        model.graph.sort()
        common.RemoveUnusedNodesPass()(model)
    return weights.names([one.weight for one in layers])


def pack(matrix: Matrix) -> Blocks:
    """Round a matrix (inputs, outputs) whose inputs are a multiple of a block."""
    size, width = matrix.shape
    columns = max(1, _AT_ONCE // size)
    parts = [_pack(matrix[:, start : start + columns]) for start in range(0, width, columns)]
    return Blocks(
        np.concatenate([part.packed for part in parts]),
        np.concatenate([part.scales for part in parts]),
        np.concatenate([part.zeros for part in parts]),
    )


def unpack(blocks: Blocks) -> Matrix:
    """Return the matrix that the operator multiplies by."""
    width, count, _ = blocks.packed.shape
    steps = np.stack([blocks.packed & _STEPS, blocks.packed >> BITS], axis=-1)
    pairs = blocks.zeros.reshape(width, -1)
    zeros = np.stack([pairs & _STEPS, pairs >> BITS], axis=-1).reshape(width, -1)[:, :count]
    values = steps.reshape(width, count, BLOCK).astype(np.float32) - zeros[:, :, np.newaxis]
    scaled = values * blocks.scales.reshape(width, count, 1)
    return np.ascontiguousarray(scaled.reshape(width, count * BLOCK).T)


def _pack(matrix: Matrix) -> Blocks:
    size, width = matrix.shape
    blocks = np.ascontiguousarray(matrix.T).reshape(width, size // BLOCK, BLOCK)
    best = _Steps.over(blocks, _PARTS[0])
    for part in _PARTS[1:]:
        best = best.or_better(_Steps.over(blocks, part))
    return Blocks(_pairs(best.steps), best.scales.reshape(-1), _pairs(best.zeros).reshape(-1))


@dataclass(frozen=True, slots=True)
class _Steps:
    """Blocks (outputs, blocks, BLOCK) rounded in one way."""

    steps: Bytes
    scales: NDArray[np.float32]
    """(outputs, blocks), as the zeros and the errors."""
    zeros: Bytes
    errors: NDArray[np.float32]
    """Sums of squares."""

    @classmethod
    def over(cls, blocks: Matrix, part: float) -> Self:
        """Spread the steps over a part of each block's reach."""
        low = part * np.minimum(blocks.min(axis=2, keepdims=True), 0)
        high = part * np.maximum(blocks.max(axis=2, keepdims=True), 0)
        scales = ((high - low) / _STEPS).astype(np.float32)
        divisors = np.where(scales > 0, scales, 1)
        zeros = np.clip(np.rint(-low / divisors), 0, _STEPS)
        steps = np.clip(np.rint(blocks / divisors) + zeros, 0, _STEPS)
        misses = (steps - zeros) * scales - blocks
        errors = np.einsum("obi,obi->ob", misses, misses)
        return cls(steps.astype(np.uint8), scales[..., 0], zeros[..., 0].astype(np.uint8), errors)

    def or_better(self, other: Self) -> Self:
        """Take each block from whichever misses it less, from this one where both do."""
        better = other.errors < self.errors
        return type(self)(
            np.where(better[..., np.newaxis], other.steps, self.steps),
            np.where(better, other.scales, self.scales),
            np.where(better, other.zeros, self.zeros),
            np.where(better, other.errors, self.errors),
        )


def _pairs(values: Bytes) -> Bytes:
    """Put two neighbours of the last axis into one byte."""
    if values.shape[-1] % 2:
        values = np.concatenate([values, np.zeros((*values.shape[:-1], 1), np.uint8)], axis=-1)
    return np.bitwise_or(values[..., 0::2], np.left_shift(values[..., 1::2], np.uint8(BITS)))


def _replace(graph: ir.Graph, layer: Linear) -> None:
    label = weights.name(layer.weight)
    size, width = weights.shape(layer.weight)
    count = size // BLOCK
    # The three parts are written one after the other: computed once, kept until the next layer.
    compute = lru_cache(maxsize=1)(lambda: pack(weights.matrix(layer.weight)))
    parts = [
        weights.stored(
            graph,
            f"{label}.int4",
            ir.DataType.UINT8,
            (width, count, BLOCK // 2),
            lambda: compute().packed,
        ),
        weights.stored(
            graph,
            f"{label}.int4.scales",
            ir.DataType.FLOAT,
            (width * count,),
            lambda: compute().scales,
        ),
        weights.stored(
            graph,
            f"{label}.int4.zeros",
            ir.DataType.UINT8,
            (width * ((count + 1) // 2),),
            lambda: compute().zeros,
        ),
    ]
    node = ir.node(
        "MatMulNBits",
        [layer.source, *parts],
        {"K": size, "N": width, "bits": BITS, "block_size": BLOCK, "accuracy_level": _LEVEL},
        domain=DOMAIN,
        name=weights.node_name(layer),
    )
    graph.append(node)
    weights.replace(layer.product, node.outputs[0])
