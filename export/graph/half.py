"""FP16: weights and layers in half precision behind FP32 inputs and outputs.

The whole graph is lowered, not the weights alone: CUDA runs its FP16 kernels, and the CPU provider,
which has few, lifts every weight to FP32 once at load and runs as fast as the FP32 file. Weights
alone behind a Cast would leave CUDA in FP32 and take a third more memory on CPU.

What half precision certainly spoils stays in FP32: sums, powers, exponentials, values counted from
integers such as positions, and everything behind the last layer. A pass on the finished graph.
Pure, no torch.
"""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

from export.errors import ConversionFailed
from export.graph import linear, weights
from export.graph.fused import DOMAIN, FUSED

_HALF, _FULL = ir.DataType.FLOAT16, ir.DataType.FLOAT

_LARGEST = float(np.finfo(np.float16).max)
_SMALLEST = float(np.finfo(np.float16).smallest_subnormal)

_IN_FULL = frozenset(
    {"CumSum", "Exp", "Log", "Pow", "Range", "ReduceL1", "ReduceL2", "ReduceLogSum"}
    | {"ReduceLogSumExp", "ReduceMean", "ReduceProd", "ReduceSum", "ReduceSumSquare"}
)
"""Operators that leave the range of half precision on ordinary inputs, or add up its errors."""

_NORMS = frozenset({"LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization"})

_NOT_FLOAT = frozenset(
    {"And", "ArgMax", "ArgMin", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less"}
    | {"LessOrEqual", "NonZero", "Not", "Or", "Shape", "Size", "Xor"}
)
"""Operators whose outputs are indices or truth values, whatever they read."""

_INDICES = {"TopK": 1, "MaxPool": 1}
"""Operators whose output of this number is an index."""

_SEQUENCES = frozenset({"ConcatFromSequence", "SequenceAt", "SplitToSequence"})
"""Operators on lists of tensors, which no Cast takes: they keep the type they are given."""

_FULL_INPUTS = {"Resize": {1, 2}}
"""Inputs that an operator takes in FP32 only: region and scales."""


def to_half(model: ir.Model) -> None:
    """Lower the graph in place; inputs and outputs keep their types.

    Raises:
        ConversionFailed: the graph holds control flow.
    """
    if any(node.graph is not model.graph for node in model.graph.all_nodes()):
        raise ConversionFailed("a graph with control flow cannot be lowered to fp16")
    # Every constant in one place, where its uses are known.
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    _join_bias_gelu(model)
    _Lowering(model).run()
    common.RemoveUnusedNodesPass()(model)


class _Lowering:
    """Walks the graph once, in order, and decides for each node."""

    def __init__(self, model: ir.Model) -> None:
        self._graph = model.graph
        self._tail = _behind_last_layer(model.graph)
        self._types: dict[ir.Value, ir.DataType] = {
            value: _FULL for value in model.graph.inputs if value.dtype == _FULL
        }
        self._casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def run(self) -> None:
        for node in list(self._graph):
            dtype = self._decide(node)
            if dtype is not None:
                self._apply(node, dtype)
        for index, output in enumerate(self._graph.outputs):
            if self._types.get(output) == _HALF:
                self._graph.outputs[index] = self._hand_out(output)

    def _decide(self, node: ir.Node) -> ir.DataType | None:
        """Return the type a node works in, or None where it has nothing to do with floats."""
        match node.op_type:
            case "Cast":
                return _FULL if node.attributes["to"].as_int() == _FULL else None
            case "CastLike":
                like = node.inputs[1]
                return None if like is None else self._types.get(like)
            case "ConstantOfShape":
                return _FULL if _fills_with_float(node) else None
        return self._decide_by_inputs(node)

    def _decide_by_inputs(self, node: ir.Node) -> ir.DataType | None:
        moving = [self._types[value] for value in node.inputs if value in self._types]
        fixed = [value for value in node.inputs if value is not None and _is_weight(value)]
        if not moving and not fixed:
            return None
        if node.op_type in _SEQUENCES and moving:
            return moving[0]
        if node in self._tail or node.op_type in _IN_FULL or any(map(_vanishes, fixed)):
            return _FULL
        if _is_layer(node) or not moving or _HALF in moving:
            return _HALF
        return _FULL

    def _apply(self, node: ir.Node, dtype: ir.DataType) -> None:
        if node.op_type not in {"Cast", "CastLike"}:
            in_full = _FULL_INPUTS.get(node.op_type, set())
            for index, value in enumerate(node.inputs):
                if value is not None:
                    wanted = _FULL if index in in_full else dtype
                    node.replace_input_with(index, self._as(value, wanted, node))
        if node.op_type in _NOT_FLOAT:
            return
        for index, output in enumerate(node.outputs):
            if index != _INDICES.get(node.op_type) and output.dtype in {None, _FULL}:
                self._types[output] = dtype
                if node.op_type == "SplitToSequence":
                    output.type = ir.SequenceType(ir.TensorType(dtype))
                else:
                    output.dtype = dtype

    def _as(self, value: ir.Value, dtype: ir.DataType, before: ir.Node) -> ir.Value:
        """Return a value in the type wanted; what is no float comes back as it is."""
        if _is_weight(value):
            return value if dtype == _FULL else self._halved(value)
        if self._types.get(value, dtype) == dtype:
            return value
        found = self._casts.get((value, dtype))
        if found is None:
            cast = ir.node("Cast", [value], {"to": dtype})
            self._graph.insert_before(before, cast)
            found = cast.outputs[0]
            found.dtype, found.shape = dtype, value.shape
            self._casts[value, dtype] = found
        return found

    def _halved(self, value: ir.Value) -> ir.Value:
        tensor = linear.tensor(value)
        dims = tuple(int(size) for size in tensor.shape.numpy())
        return weights.stored(self._graph, f"{value.name}.fp16", _HALF, dims, _rounding(tensor))

    def _hand_out(self, output: ir.Value) -> ir.Value:
        """Return an output of the graph in FP32, under its name."""
        cast = ir.node("Cast", [output], {"to": _FULL})
        self._graph.append(cast)
        (result,) = cast.outputs
        result.name, output.name = output.name, f"{output.name}.fp16"
        result.dtype, result.shape = _FULL, output.shape
        return result


def _behind_last_layer(graph: ir.Graph) -> set[ir.Node]:
    """Return the nodes that no layer comes after: pooling, scores, the final normalisation."""
    tail: set[ir.Node] = set()
    for node in reversed(graph):
        after = {user for value in node.outputs for user, _ in value.uses()}
        if not _is_layer(node) and after <= tail:
            tail.add(node)
    return tail


def _is_layer(node: ir.Node) -> bool:
    """Whether a node is attention, a normalisation, or has a matrix or more of weights."""
    return (
        (node.domain, node.op_type) in FUSED
        or node.op_type in _NORMS
        or (
            node.op_type in {"Conv", "ConvTranspose", "Gemm", "MatMul"}
            and any(_is_matrix(value) for value in node.inputs if value is not None)
        )
    )


def _join_bias_gelu(model: ir.Model) -> None:
    """Write `Gelu(x + bias)` as BiasGelu, which both providers have.

    Gelu itself is a function of the standard: the CPU provider has no FP16 kernel for it and takes
    it apart, which costs MiniLM 5 %.
    """
    graph = model.graph
    for node in list(graph):
        add = node.inputs[0].producer() if node.op_type == "Gelu" and node.inputs[0] else None
        if add is None or add.op_type != "Add" or linear.only_user(add.outputs[0]) is not node:
            continue
        if node.attributes.get_string("approximate", "none") != "none":
            continue
        bias = next((one for one in add.inputs if one is not None and _is_vector(one)), None)
        source = next((one for one in add.inputs if one is not bias), None)
        if bias is None or source is None:
            continue
        joined = ir.node("BiasGelu", [source, bias], domain=DOMAIN, name=node.name)
        joined.metadata_props.update(node.metadata_props)
        graph.insert_after(node, joined)
        weights.replace(node.outputs[0], joined.outputs[0])
        graph.remove([node, add], safe=True)
        model.opset_imports[DOMAIN] = 1


def _is_weight(value: ir.Value) -> bool:
    return (
        value.is_initializer()
        and value.const_value is not None
        and value.const_value.dtype == _FULL
    )


def _is_matrix(value: ir.Value) -> bool:
    """Whether weights go both ways: the frequencies of a rotary embedding are no layer."""
    wide = 2
    return (
        _is_weight(value) and sum(size > 1 for size in linear.tensor(value).shape.numpy()) >= wide
    )


def _is_vector(value: ir.Value) -> bool:
    return _is_weight(value) and len(linear.tensor(value).shape) == 1


def _vanishes(value: ir.Value) -> bool:
    """Whether a constant is a number that half precision takes for 0, as a guard of a division."""
    tensor = linear.tensor(value)
    if tensor.size != 1:
        return False
    return 0.0 < abs(float(tensor.numpy().reshape(()))) < _SMALLEST


def _fills_with_float(node: ir.Node) -> bool:
    fill = node.attributes.get("value")
    return fill is None or fill.as_tensor().dtype == _FULL


def _rounding(tensor: ir.TensorProtocol) -> Callable[[], NDArray[np.float16]]:
    # Clipped, because a mask of -3e38 must stay finite.
    return lambda: np.clip(tensor.numpy(), -_LARGEST, _LARGEST).astype(np.float16)
