"""Fold what tracing leaves around the fused nodes: shape arithmetic and turned weights.

A pass on the finished graph, exact on every input: it removes a Reshape or Transpose only where the
recorded shapes prove that the data comes out as it went in, and turns weights at export instead of
at every load. ONNX Runtime does not do the first, because it does not see that two dynamic
dimensions are the same one.
"""

import onnx_ir as ir
from onnx_ir.passes import common


def fold(model: ir.Model) -> None:
    """Remove layout round trips, turned weights and whatever nothing uses any more."""
    for node in list(model.graph):
        if node.op_type == "Transpose":
            _cancel_transpose(node)
        elif node.op_type == "Reshape":
            _cancel_reshape(node)
    for node in list(model.graph):
        if node.op_type == "Transpose":
            _turn_weight(model.graph, node)
    common.IdentityEliminationPass()(model)
    common.RemoveUnusedNodesPass()(model)


def _cancel_transpose(node: ir.Node) -> None:
    """Skip a pair of transpositions that undo each other."""
    before = node.inputs[0].producer() if node.inputs[0] is not None else None
    if before is None or before.op_type != "Transpose":
        return
    first, second = _permutation(before), _permutation(node)
    source = before.inputs[0]
    if source is None or first is None or second is None:
        return
    if [first[axis] for axis in second] == sorted(first):
        ir.convenience.replace_all_uses_with(node.outputs[0], source)


def _cancel_reshape(node: ir.Node) -> None:
    """Skip a run of Reshapes that ends in a shape the data had before."""
    shape = node.outputs[0].shape
    source = node.inputs[0]
    while source is not None:
        if _same(shape, source.shape):
            ir.convenience.replace_all_uses_with(node.outputs[0], source)
            return
        before = source.producer()
        if before is None or before.op_type != "Reshape":
            return
        source = before.inputs[0]


def _turn_weight(graph: ir.Graph, node: ir.Node) -> None:
    """Replace the transposition of a matrix of weights by the turned matrix."""
    weight = node.inputs[0]
    if weight is None or weight.const_value is None or _permutation(node) != [1, 0]:
        return
    if not weight.is_initializer() or len(weight.uses()) != 1:
        return
    tensor = weight.const_value
    name = f"{weight.name}.T"
    shape = ir.Shape(reversed(tensor.shape.numpy()))
    value = ir.Value(
        name=name,
        shape=shape,
        type=ir.TensorType(tensor.dtype),
        # Lazy: the copy exists only while it is written.
        const_value=ir.LazyTensor(
            lambda: ir.tensor(tensor.numpy().T), dtype=tensor.dtype, shape=shape, name=name
        ),
    )
    graph.register_initializer(value)
    ir.convenience.replace_all_uses_with(node.outputs[0], value)
    graph.remove(node, safe=True)
    graph.initializers.pop(str(weight.name))


def _permutation(node: ir.Node) -> list[int] | None:
    attribute = node.attributes.get("perm")
    return None if attribute is None else list(attribute.as_ints())


def _same(left: ir.Shape | None, right: ir.Shape | None) -> bool:
    """Say whether two shapes are equal for certain: same numbers and same named dimensions."""
    if left is None or right is None or left.rank() != right.rank():
        return False
    return all(
        one == other and (isinstance(one, int) or one.value is not None)
        for one, other in zip(left, right, strict=True)
    )
