"""Heads: what turns the states of tokens into the answer of a task, inside the graph.

A pass on a finished ONNX graph, in operators of the standard domain only; no torch. Pooling goes by
segment, so packed and padded rows give one vector per sequence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.tape import Tape

SEGMENT_IDS = "segment_ids"
SENTENCE_EMBEDDING = "sentence_embedding"

MIN_NORM = 1e-12
"""Smallest norm divided by, as in `torch.nn.functional.normalize`."""


@dataclass(frozen=True, slots=True)
class Head:
    """A sentence embedding head."""

    mode: Literal["mean", "cls"]
    normalize: bool
    dimensions: int


class _Builder:
    """Appends nodes and constants to a graph under the names `head.*`."""

    def __init__(self, graph: ir.Graph) -> None:
        self._tape = Tape(graph)

    def op(self, op_type: str, inputs: Sequence[ir.Value], **attributes: int) -> ir.Value:
        return self._tape.op(op_type, inputs, attributes)

    def integers(self, name: str, value: int | Sequence[int]) -> ir.Value:
        return self._constant(name, np.array(value, np.int64))

    def real(self, name: str, value: float) -> ir.Value:
        return self._constant(name, np.array(value, np.float32))

    def _constant(self, name: str, array: NDArray[np.generic]) -> ir.Value:
        return self._tape.initializer(ir.tensor(array, name=f"head.{name}"))


def add_sentence_embedding(model: ir.Model, head: Head) -> None:
    """Replace the graph's only output, token states, by `sentence_embedding`.

    The output is (sequences, dimensions): one vector for every segment that has a token, by row and
    then by segment. `membership` (rows, segments, length) marks the tokens of each segment, so that
    sums are one matrix product and segments without a token drop out at the end.
    """
    graph = model.graph
    (states,) = graph.outputs
    segment_ids = next(value for value in graph.inputs if value.name == SEGMENT_IDS)
    builder = _Builder(graph)
    membership = _membership(builder, segment_ids)
    counts = builder.op("ReduceSum", [membership, builder.integers("token_axis", [2])], keepdims=0)
    if head.mode == "mean":
        pooled = _means(builder, states, membership, counts)
    else:
        pooled = _first_tokens(builder, states, membership)
    flat = builder.op("Reshape", [pooled, builder.integers("flat", [-1, head.dimensions])])
    flat_counts = builder.op("Reshape", [counts, builder.integers("flat_counts", [-1])])
    present = builder.op("Greater", [flat_counts, builder.real("no_tokens", 0.0)])
    vectors = builder.op("Compress", [flat, present], axis=0)
    if head.normalize:
        vectors = _normalized(builder, vectors)
    vectors.name = SENTENCE_EMBEDDING
    vectors.dtype = ir.DataType.FLOAT
    vectors.shape = ir.Shape(["sequences", head.dimensions])
    graph.outputs[:] = [vectors]


def _membership(builder: _Builder, segment_ids: ir.Value) -> ir.Value:
    """Return FP32 (rows, segments, length): 1 where the token belongs to the segment."""
    one = builder.integers("one", 1)
    largest = builder.op("ReduceMax", [segment_ids], keepdims=0)
    numbers = builder.op("Range", [one, builder.op("Add", [largest, one]), one])
    column = builder.op("Unsqueeze", [numbers, builder.integers("column", [0, 2])])
    tokens = builder.op("Unsqueeze", [segment_ids, builder.integers("segment_axis", [1])])
    return builder.op("Cast", [builder.op("Equal", [column, tokens])], to=ir.DataType.FLOAT)


def _means(builder: _Builder, states: ir.Value, membership: ir.Value, counts: ir.Value) -> ir.Value:
    sums = builder.op("MatMul", [membership, states])
    divisors = builder.op("Max", [counts, builder.real("at_least_one", 1.0)])
    column = builder.op("Unsqueeze", [divisors, builder.integers("hidden_axis", [2])])
    return builder.op("Div", [sums, column])


def _first_tokens(builder: _Builder, states: ir.Value, membership: ir.Value) -> ir.Value:
    # ArgMax returns the first of equal values: the first token of the segment, which is [CLS].
    first = builder.op("ArgMax", [membership], axis=2, keepdims=0, select_last_index=0)
    indices = builder.op("Unsqueeze", [first, builder.integers("index_axis", [2])])
    return builder.op("GatherND", [states, indices], batch_dims=1)


def _normalized(builder: _Builder, vectors: ir.Value) -> ir.Value:
    norms = builder.op("ReduceL2", [vectors, builder.integers("vector_axis", [1])], keepdims=1)
    return builder.op("Div", [vectors, builder.op("Max", [norms, builder.real("tiny", MIN_NORM)])])
