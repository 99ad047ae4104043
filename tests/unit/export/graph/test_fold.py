"""Folding: what must go, and what must stay because nothing proves it superfluous."""

from collections import Counter

import numpy as np
import onnx_ir as ir

from export.graph.fold import fold

TOKENS = ("rows", "length", 12)
HEADS = ("rows", "length", 3, 4)


def step(
    op_type: str, source: ir.Value, shape: tuple[str | int, ...] | None, **keywords: object
) -> ir.Value:
    """One layout node whose output has a recorded shape."""
    inputs = [source]
    if op_type == "Reshape":
        inputs.append(ir.val("target", ir.DataType.INT64, [len(shape or ())]))
    node = ir.node(op_type, inputs, attributes=keywords)  # type: ignore[arg-type]
    (output,) = node.outputs
    output.dtype = ir.DataType.FLOAT
    output.shape = None if shape is None else ir.Shape(shape)
    return output


def ops_after_fold(last: ir.Value, source: ir.Value, *more: ir.Value) -> Counter[str]:
    """Fold the chain that ends in `last` behind a Neg, and count what is left."""
    result = step("Neg", last, TOKENS)
    result.name = "result"
    nodes = []
    value: ir.Value | None = result
    while value is not None and (node := value.producer()) is not None:
        nodes.append(node)
        value = node.inputs[0]
    targets = [i for n in nodes for i in n.inputs[1:] if i is not None]
    graph = ir.Graph(
        [source, *targets], [result], nodes=nodes[::-1], initializers=more,
        opset_imports={"": 20}, name="chain",
    )  # fmt: skip
    fold(ir.Model(graph, ir_version=10))
    return Counter(node.op_type for node in graph)


def tokens() -> ir.Value:
    return ir.val("tokens", ir.DataType.FLOAT, TOKENS)


def test_splitting_and_joining_heads_around_two_transpositions_goes() -> None:
    source = tokens()
    split = step("Reshape", source, HEADS)
    turned = step("Transpose", split, ("rows", 3, "length", 4), perm=[0, 2, 1, 3])
    back = step("Transpose", turned, HEADS, perm=[0, 2, 1, 3])
    joined = step("Reshape", back, TOKENS)
    assert ops_after_fold(joined, source) == {"Neg": 1}


def test_a_transposition_that_is_not_undone_stays() -> None:
    source = tokens()
    split = step("Reshape", source, HEADS)
    turned = step("Transpose", split, ("rows", 3, "length", 4), perm=[0, 2, 1, 3])
    joined = step("Reshape", turned, TOKENS)
    assert ops_after_fold(joined, source) == {"Neg": 1, "Reshape": 2, "Transpose": 1}


def test_two_transpositions_that_do_not_cancel_stay() -> None:
    source = tokens()
    once = step("Transpose", source, None, perm=[1, 2, 0])
    twice = step("Transpose", once, None, perm=[1, 2, 0])
    assert ops_after_fold(twice, source) == {"Neg": 1, "Transpose": 2}


def test_a_reshape_to_an_unknown_shape_stays() -> None:
    source = tokens()
    assert ops_after_fold(step("Reshape", source, None), source) == {"Neg": 1, "Reshape": 1}


def test_a_reshape_whose_free_dimensions_differ_stays() -> None:
    source = tokens()
    swapped = step("Reshape", source, ("length", "rows", 12))
    assert ops_after_fold(swapped, source) == {"Neg": 1, "Reshape": 1}


def test_a_turned_weight_is_stored_turned() -> None:
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    weight = ir.val("weight", const_value=ir.tensor(matrix, name="weight"))
    source = ir.val("x", ir.DataType.FLOAT, ["rows", 3])
    turned = ir.node("Transpose", [weight], attributes={"perm": [1, 0]})
    product = ir.node("MatMul", [source, turned.outputs[0]])
    product.outputs[0].name = "y"
    graph = ir.Graph(
        [source], product.outputs, nodes=[turned, product], initializers=[weight],
        opset_imports={"": 20}, name="linear",
    )  # fmt: skip
    fold(ir.Model(graph, ir_version=10))
    assert [node.op_type for node in graph] == ["MatMul"]
    (stored,) = graph.initializers.values()
    assert stored.const_value is not None
    np.testing.assert_array_equal(stored.const_value.numpy(), matrix.T)
