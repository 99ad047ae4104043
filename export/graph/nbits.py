"""Weights of four bits, activations in float: for decoders, whose single rows wait for memory.

`com.microsoft.MatMulNBits` (ONNX Runtime contrib operators, version 1): every column of a matrix in
blocks of `block_size` rows, each with a scale and a zero point. Rounding is to the nearest step
between a block's smallest and largest weight, 0 always among the steps. `accuracy_level` 4 rounds
activations to eight bits by block of a row inside the kernel, so an answer does not depend on its
batch-mates. Pure, no torch.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

from export.graph import weights
from export.graph.fused import DOMAIN
from export.graph.linear import Linear
from export.graph.weights import Matrix

BITS, BLOCK = 4, 32
_STEPS = 2**BITS - 1
_LEVEL = 4
"""Activations in eight bits: level 0 is several times as slow."""

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
    blocks = matrix.T.reshape(width, size // BLOCK, BLOCK)
    low = np.minimum(blocks.min(axis=2), 0)
    high = np.maximum(blocks.max(axis=2), 0)
    scales = ((high - low) / _STEPS).astype(np.float32)
    divisors = np.where(scales > 0, scales, 1)
    zeros = np.clip(np.rint(-low / divisors), 0, _STEPS)
    steps = np.rint(blocks / divisors[:, :, np.newaxis]) + zeros[:, :, np.newaxis]
    rounded = np.clip(steps, 0, _STEPS).astype(np.uint8)
    return Blocks(_pairs(rounded), scales.reshape(-1), _pairs(zeros.astype(np.uint8)).reshape(-1))


def unpack(blocks: Blocks) -> Matrix:
    """Return the matrix that the operator multiplies by."""
    width, count, _ = blocks.packed.shape
    steps = np.stack([blocks.packed & _STEPS, blocks.packed >> BITS], axis=-1)
    pairs = blocks.zeros.reshape(width, -1)
    zeros = np.stack([pairs & _STEPS, pairs >> BITS], axis=-1).reshape(width, -1)[:, :count]
    values = steps.reshape(width, count, BLOCK).astype(np.float32) - zeros[:, :, np.newaxis]
    scaled = values * blocks.scales.reshape(width, count, 1)
    return np.ascontiguousarray(scaled.reshape(width, count * BLOCK).T)


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
        name=f"{label}.product",
    )
    graph.append(node)
    weights.replace(layer.product, node.outputs[0])
