"""Heads: what turns selected states into the answer of a task, inside the graph.

A head is written here (sentence embedding, sparse embedding) or traced from the checkpoint and
joined. Pure passes on `ir.Model`, no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from export.graph import select
from export.graph.builder import Builder
from export.graph.select import SEGMENT_IDS as SEGMENT_IDS  # noqa: PLC0414 - part of the interface
from export.graph.select import Pooling

SENTENCE_EMBEDDING = "sentence_embedding"
SPARSE_EMBEDDING = "sparse_embedding"

MIN_NORM = 1e-12
"""Smallest norm divided by, as in `torch.nn.functional.normalize`."""

Activation = Literal["Identity", "Tanh", "Relu", "Gelu", "Sigmoid"]


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear layer behind the pooling, as sentence-transformers' `Dense` module."""

    weight: NDArray[np.float32]
    """(in, out)."""
    bias: NDArray[np.float32] | None
    activation: Activation


@dataclass(frozen=True, slots=True)
class Head:
    """A sentence embedding head: pool, project, cut, normalise."""

    mode: Pooling
    normalize: bool
    dimensions: int
    """Of the answer."""
    layers: tuple[Dense, ...] = ()
    width: int | None = None
    """Of the states, where it is not `dimensions`."""


def add_sentence_embedding(model: ir.Model, head: Head) -> None:
    """Replace the graph's only output, token states, by `sentence_embedding`.

    The output is (sequences, dimensions): one vector for every segment that has a token.
    """
    (states,) = model.graph.outputs
    width = head.width or head.dimensions
    vectors = select.pool(model, states, head.mode, width)
    build = Builder(model.graph, "head")
    for index, layer in enumerate(head.layers):
        vectors = _dense(build, vectors, layer, index)
        width = layer.weight.shape[1]
    if head.dimensions < width:
        # Matryoshka (Kusupati et al. 2022, arXiv:2205.13147): the first values stand alone.
        zero, end = build.integers("cut_from", [0]), build.integers("cut_to", [head.dimensions])
        vectors = build.op("Slice", [vectors, zero, end, build.integers("cut_axis", [1])])
    if head.normalize:
        vectors = _normalized(build, vectors)
    set_outputs(model, {SENTENCE_EMBEDDING: (vectors, ["sequences", head.dimensions])})


def add_sparse_embedding(model: ir.Model, vocabulary: int) -> None:
    """Replace the only output, vocabulary logits of tokens, by SPLADE's term weights.

    log(1 + relu(largest logit)) for each term (Formal et al. 2021, arXiv:2109.10086, max pooling).
    Both functions grow with their argument, so the maximum is taken first, on far fewer values.
    """
    (logits,) = model.graph.outputs
    largest = select.pool(model, logits, "max", vocabulary)
    build = Builder(model.graph, "head")
    positive = build.op("Relu", [largest])
    weights = build.op("Log", [build.op("Add", [positive, build.real("one", 1.0)])])
    set_outputs(model, {SPARSE_EMBEDDING: (weights, ["sequences", vocabulary])})


def join(model: ir.Model, states: ir.Value, head: ir.Model) -> tuple[ir.Value, ...]:
    """Move the nodes of a traced head behind `states` and return its outputs.

    The head has one input, which `states` takes the place of; its names get the prefix `head.`.
    """
    (entry,) = head.graph.inputs
    outputs = tuple(head.graph.outputs)
    head.graph.outputs.clear()
    ir.convenience.replace_all_uses_with(entry, states)
    for value in list(head.graph.initializers.values()):
        head.graph.initializers.pop(str(value.name))
        value.name = f"head.{value.name}"
        if value.const_value is not None:
            value.const_value.name = value.name
        model.graph.register_initializer(value)
    nodes = list(head.graph)
    head.graph.remove(nodes)
    for node in nodes:
        node.name = f"head.{node.name}"
        for value in node.outputs:
            value.name = f"head.{value.name}"
    model.graph.extend(nodes)
    return outputs


def set_outputs(model: ir.Model, outputs: dict[str, tuple[ir.Value, Sequence[int | str]]]) -> None:
    """Make values the outputs of the graph under their final names, all FP32."""
    for name, (value, shape) in outputs.items():
        value.name = name
        value.dtype = ir.DataType.FLOAT
        value.shape = ir.Shape(shape)
    model.graph.outputs[:] = [value for value, _ in outputs.values()]


def _dense(build: Builder, vectors: ir.Value, layer: Dense, index: int) -> ir.Value:
    vectors = build.op("MatMul", [vectors, build.constant(f"dense_{index}.weight", layer.weight)])
    if layer.bias is not None:
        vectors = build.op("Add", [vectors, build.constant(f"dense_{index}.bias", layer.bias)])
    return vectors if layer.activation == "Identity" else build.op(layer.activation, [vectors])


def _normalized(build: Builder, vectors: ir.Value) -> ir.Value:
    norms = build.op("ReduceL2", [vectors, build.integers("vector_axis", [1])], keepdims=1)
    return build.op("Div", [vectors, build.op("Max", [norms, build.real("tiny", MIN_NORM)])])
