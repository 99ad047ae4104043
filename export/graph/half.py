"""FP16 weights, and FP16 arithmetic wherever it is safe.

One file for both providers: CUDA runs its FP16 kernels, and ONNX Runtime on CPU, which has none
for most of these operators, lifts the weights to FP32 once at load. Inputs and outputs of the graph
stay FP32. What FP16 cannot hold stays FP32 inside: positions and the angles made of them, sums of
squares in normalisations, and pooling over many tokens. A pass on the finished graph. Pure, no
torch.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

from export.graph import linear

FULL, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16

_LARGEST = float(np.finfo(np.float16).max)

_SUMS = frozenset(
    {"CumSum", "Log", "Pow", "ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare", "ScatterND"}
)
"""Operators whose results may leave the range of FP16, or need more than its eleven bits."""

_INTEGERS = frozenset({"ArgMax", "NonZero", "Shape", "Size"})
_TRUTHS = frozenset(
    {"And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or"}
)
_SECOND = frozenset({"Where"})
"""Operators whose result has the type of the second input; of most others it is the first's."""


def to_half(model: ir.Model) -> None:
    """Turn a graph to FP16 in place."""
    floats = _Floats()
    full = _full_nodes(model.graph, floats)
    boundary = _Boundary(model.graph, full)
    for node in list(model.graph):
        wanted = FULL if node in full else HALF
        for index, value in enumerate(node.inputs):
            if value is not None and floats.holds(value):
                node.replace_input_with(index, boundary.cross(value, wanted))
        if wanted == HALF:
            _retype(node, floats)
    for index, output in enumerate(model.graph.outputs):
        producer = output.producer()
        if producer is not None and producer not in full and floats.holds(output):
            model.graph.outputs[index] = _lifted(model.graph, output)
    common.RemoveUnusedNodesPass()(model)


class _Floats:
    """Which values are of real numbers. Nodes added behind the tracer carry no types."""

    def __init__(self) -> None:
        self._known: dict[ir.Value, bool] = {}

    def holds(self, value: ir.Value) -> bool:
        """Whether a value is FP32 in the graph as it came."""
        if value not in self._known:
            self._known[value] = self._find(value)
        return self._known[value]

    def _find(self, value: ir.Value) -> bool:
        if value.const_value is not None:
            return value.const_value.dtype == FULL
        if value.dtype is not None:
            return value.dtype == FULL
        node = value.producer()
        if node is None or node.op_type in _INTEGERS | _TRUTHS:
            return False
        if node.op_type == "Cast":
            return node.attributes["to"].as_int() == FULL
        if not node.inputs:
            # A constant of an attribute; typed by the tracer unless it is of integers.
            return False
        like = node.inputs[1 if node.op_type in _SECOND else 0]
        return like is not None and self.holds(like)


def _full_nodes(graph: ir.Graph, floats: _Floats) -> set[ir.Node]:
    """Return the nodes that stay FP32: what is unsafe, and what comes of nothing else."""
    full: set[ir.Node] = set()
    for node in graph:
        inputs = [value for value in node.inputs if value is not None and floats.holds(value)]
        moving = [value.producer() for value in inputs if value.producer() is not None]
        given = [value for value in inputs if value.is_graph_input()]
        if node.domain or given:
            continue
        from_full = [producer in full for producer in moving]
        if (
            node.op_type in _SUMS
            # Made of integers or constants: positions, masks, tables of frequencies.
            or (not moving and node.op_type not in {"Gather", "Transpose"})
            or (from_full and all(from_full))
            or (node.op_type == "MatMul" and any(from_full))
        ) and any(floats.holds(value) for value in node.outputs):
            full.add(node)
    return full


class _Boundary:
    """Hands values from FP32 to FP16 and back, each at most once."""

    def __init__(self, graph: ir.Graph, full: set[ir.Node]) -> None:
        self._graph = graph
        self._full = full
        self._crossed: dict[ir.Value, ir.Value] = {}

    def cross(self, value: ir.Value, wanted: ir.DataType) -> ir.Value:
        """Return a value in the type that its user works in."""
        producer = value.producer()
        present = FULL if producer is None or producer in self._full else HALF
        if present == wanted:
            return value
        if value not in self._crossed:
            constant = producer is None and value.const_value is not None
            self._crossed[value] = self._halved(value) if constant else self._cast(value, wanted)
        return self._crossed[value]

    def _halved(self, weight: ir.Value) -> ir.Value:
        tensor = linear.tensor(weight)
        name, shape = f"{weight.name}.fp16", ir.Shape(tensor.shape.numpy())
        halved = ir.Value(
            name=name,
            shape=shape,
            type=ir.TensorType(HALF),
            # Lazy: the copy exists only while it is written.
            const_value=ir.LazyTensor(
                lambda: ir.tensor(_clipped(tensor)), dtype=HALF, shape=shape, name=name
            ),
        )
        self._graph.register_initializer(halved)
        return halved

    def _cast(self, value: ir.Value, wanted: ir.DataType) -> ir.Value:
        cast = ir.node("Cast", [value], {"to": int(wanted)})
        producer = value.producer()
        # Right behind what makes the value, so that every user finds it.
        if producer is None:
            self._graph.insert_before(self._graph[0], cast)
        else:
            self._graph.insert_after(producer, cast)
        (result,) = cast.outputs
        result.shape, result.dtype = value.shape, wanted
        return result


def _clipped(tensor: ir.TensorProtocol) -> NDArray[np.float16]:
    clipped: NDArray[np.float16] = np.clip(tensor.numpy(), -_LARGEST, _LARGEST).astype(np.float16)
    return clipped


def _retype(node: ir.Node, floats: _Floats) -> None:
    if node.op_type == "Cast" and node.attributes["to"].as_int() == FULL:
        node.attributes["to"] = ir.AttrInt64("to", int(HALF))
    for value in node.outputs:
        if not floats.holds(value):
            continue
        if isinstance(value.type, ir.SequenceType):
            value.type = ir.SequenceType(ir.TensorType(HALF))
        elif value.type is not None:
            value.dtype = HALF


def _lifted(graph: ir.Graph, output: ir.Value) -> ir.Value:
    """Return an output of the graph as FP32, under its own name."""
    cast = ir.node("Cast", [output], {"to": int(FULL)})
    graph.append(cast)
    lifted = cast.outputs[0]
    lifted.shape, lifted.dtype = output.shape, FULL
    lifted.name, output.name = output.name, f"{output.name}.fp16"
    return lifted
