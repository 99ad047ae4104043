"""The matrices of a graph that may be stored in fewer bits, and initializers computed when written.

Nothing here rounds: what the passes `int8` and `nbits` share. Pure, no torch.
"""

from collections.abc import Callable, Collection, Iterable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from export.errors import ConversionFailed
from export.graph import linear
from export.graph.linear import Linear

Matrix = NDArray[np.float32]

SMALLEST = 32
"""Matrices with fewer rows or columns cost more to round than to multiply, and answer worse."""

LARGE_TABLE = 1000
"""Embedding tables with fewer rows are not worth rounding."""

_TURNED = ".T"
"""What `fold` appends to the name of weights that it stores turned."""

_CHANGED = {"GroupNormalization": 21}
"""Operators that opset 21 changed, not just extended to more types: since when."""


def layers(model: ir.Model, keep: Collection[str] = ()) -> list[Linear]:
    """Return the linear layers with FP32 weights of a useful size, in graph order.

    A Gemm becomes a MatMul and an Add first, and weights that are turned in the graph, as those of
    a tied output projection, are stored turned, so that one form is left to round.
    """
    for node in list(model.graph):
        if node.op_type == "Gemm" and not node.domain and _holds(node.inputs[1], keep):
            _take_apart(model.graph, node)
        elif node.op_type == "Transpose" and not node.domain and _holds(node.inputs[0], keep):
            _turn(model.graph, node)
    found = (linear.starting_at(node) for node in model.graph)
    return [one for one in found if one is not None and _holds(one.weight, keep)]


def tables(model: ir.Model, keep: Collection[str] = ()) -> list[tuple[ir.Node, ir.Value]]:
    """Return every lookup in a large FP32 table of embeddings: the Gather and the table."""
    found = []
    for node in model.graph:
        table = node.inputs[0] if node.op_type == "Gather" and not node.domain else None
        if (
            table is not None
            and node.attributes.get_int("axis", 0) == 0
            and _holds(table, keep)
            and shape(table)[0] >= LARGE_TABLE
        ):
            found.append((node, table))
    return found


def name(initializer: ir.Value) -> str:
    """Return the name of weights as the checkpoint has it."""
    return str(initializer.name).removesuffix(_TURNED)


def names(initializers: Iterable[ir.Value]) -> tuple[str, ...]:
    """Return the names, each once: ALBERT runs the same weights several times."""
    return tuple(dict.fromkeys(map(name, initializers)))


def node_name(layer: Linear) -> str | None:
    """Return the name of the product of a layer, for what takes its place."""
    node = layer.product.producer()
    return None if node is None else node.name


def shape(initializer: ir.Value) -> tuple[int, int]:
    """Return the rows and columns of a matrix."""
    rows, columns = linear.tensor(initializer).shape.numpy()
    return rows, columns


def matrix(initializer: ir.Value) -> Matrix:
    """Return the weights, where possible without a copy."""
    return linear.tensor(initializer).numpy()


def stored(
    graph: ir.Graph,
    full_name: str,
    dtype: ir.DataType,
    dims: tuple[int, ...],
    compute: Callable[[], NDArray[np.generic]],
) -> ir.Value:
    """Register an initializer that is computed each time it is read, or return the one there is."""
    existing = graph.initializers.get(full_name)
    if existing is not None:
        return existing
    value = ir.Value(
        name=full_name,
        shape=ir.Shape(dims),
        type=ir.TensorType(dtype),
        # Lazy: the rounded copy exists only while it is written.
        const_value=ir.LazyTensor(
            lambda: ir.tensor(compute(), dtype=dtype),
            dtype=dtype,
            shape=ir.Shape(dims),
            name=full_name,
        ),
    )
    graph.register_initializer(value)
    return value


def replace(old: ir.Value, new: ir.Value) -> None:
    """Let `new` take the place and the name of `old`."""
    new.shape, new.type = old.shape, old.type
    new.name, old.name = old.name, None
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)


def require_opset(model: ir.Model, opset: int) -> None:
    """Raise the opset of a graph to one that only extended operators to more types.

    Raises:
        ConversionFailed: an operator of the graph means something else in the newer opset.
    """
    current = model.opset_imports[""]
    changed = {
        node.op_type
        for node in model.graph.all_nodes()
        if not node.domain and current < _CHANGED.get(node.op_type, 0) <= opset
    }
    if changed:
        raise ConversionFailed(
            f"{', '.join(sorted(changed))} of opset {current} means something else in {opset}"
        )
    model.opset_imports[""] = max(current, opset)


def _holds(value: ir.Value | None, keep: Collection[str]) -> bool:
    """Whether a value is a matrix of weights to round."""
    if value is None or not value.is_initializer() or value.const_value is None:
        return False
    dims = value.const_value.shape
    return (
        value.const_value.dtype == ir.DataType.FLOAT
        and len(dims) == 2  # noqa: PLR2004 - a matrix
        and min(dims.numpy()) >= SMALLEST
        and name(value) not in keep
    )


def _take_apart(graph: ir.Graph, node: ir.Node) -> None:
    """Write `alpha * A B + beta * C` as MatMul and Add where both factors are 1."""
    source, weight, bias = (*node.inputs, None)[:3]
    attributes = node.attributes
    if (
        source is None
        or weight is None
        or attributes.get_int("transA", 0) != 0
        or attributes.get_float("alpha", 1.0) != 1.0
        or attributes.get_float("beta", 1.0) != 1.0
    ):
        return
    if attributes.get_int("transB", 0):
        weight = _turned(graph, weight)
    new = [ir.node("MatMul", [source, weight], name=node.name)]
    if bias is not None:
        new.append(ir.node("Add", [new[0].outputs[0], bias]))
    for one in new:
        one.metadata_props.update(node.metadata_props)
    graph.insert_after(node, new)
    replace(node.outputs[0], new[-1].outputs[0])
    graph.remove(node, safe=True)


def _turn(graph: ir.Graph, node: ir.Node) -> None:
    """Replace the transposition of a matrix of weights by the turned matrix."""
    weight = node.inputs[0]
    permutation = node.attributes.get("perm")
    if weight is None or (permutation is not None and list(permutation.as_ints()) != [1, 0]):
        return
    ir.convenience.replace_all_uses_with(node.outputs[0], _turned(graph, weight))
    graph.remove(node, safe=True)


def _turned(graph: ir.Graph, weight: ir.Value) -> ir.Value:
    rows, columns = shape(weight)
    tensor = linear.tensor(weight)
    return stored(
        graph,
        f"{weight.name}{_TURNED}",
        tensor.dtype,
        (columns, rows),
        lambda: tensor.numpy().T,
    )
