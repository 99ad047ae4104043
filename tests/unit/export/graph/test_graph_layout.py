"""Merging projections: one matrix product for those of one attention that read the same value."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from attentions import WIDTH, Layer, attention_model, linear, run, sharing_model, weights

from export.graph.builder import Builder
from export.graph.fused import DOMAIN, count_fused, fused_nodes
from export.graph.layout import merge_projections

TOLERANCE = 2e-6  # FP32 sums of a few dozen products in another order.

LAYERS = {
    "multi-head": Layer(),
    "unequal widths": Layer(heads=4, kv_heads=1, head_size=8),
    "no biases": Layer(biased=(False,) * 4),
    "no bias on the key": Layer(biased=(True, False, True, True)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_three_products_become_one_and_the_answer_stays(tmp_path: Path, name: str) -> None:
    model = attention_model(LAYERS[name], LAYERS[name])
    (expected,) = run(model, tmp_path / "before.onnx")
    assert merge_projections(model) == 4
    ops = Counter(node.op_type for node in model.graph)
    assert (ops["MatMul"], ops["Split"], count_fused(model)) == (4, 2, 2)
    (found,) = run(model, tmp_path / "after.onnx")
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_the_weights_are_stored_once(tmp_path: Path) -> None:
    model = attention_model(Layer())
    size = sum(array.nbytes for array in weights(Layer()).values())
    merge_projections(model)
    run(model, tmp_path / "after.onnx")
    stored = sum(
        value.const_value.nbytes
        for name, value in model.graph.initializers.items()
        if value.const_value is not None and name.startswith("0.")
    )
    assert stored == size


def test_layers_that_share_their_weights_share_the_merged_ones(tmp_path: Path) -> None:
    model = sharing_model(Layer())
    (expected,) = run(model, tmp_path / "before.onnx")
    assert merge_projections(model) == 4
    # One matrix and one vector for both layers.
    assert sum("+" in name for name in model.graph.initializers) == 2
    (found,) = run(model, tmp_path / "after.onnx")
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_a_rotation_between_projection_and_node_is_no_obstacle(tmp_path: Path) -> None:
    model = attention_model(Layer())
    (node,) = fused_nodes(model)
    for index in (0, 1):
        value = node.inputs[index]
        assert value is not None
        turned = ir.node("Neg", [value])
        model.graph.insert_before(node, turned)
        node.replace_input_with(index, ir.node("Add", [turned.outputs[0], value]).outputs[0])
        made = node.inputs[index]
        assert made is not None
        added = made.producer()
        assert added is not None
        model.graph.insert_before(node, added)
    (expected,) = run(model, tmp_path / "before.onnx")
    assert merge_projections(model) == 2
    (found,) = run(model, tmp_path / "after.onnx")
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_cross_attention_merges_key_and_value(tmp_path: Path) -> None:
    model = cross_attention()
    random = np.random.default_rng(1)
    feeds = {
        name: random.normal(size=(2, length, WIDTH)).astype(np.float32)
        for name, length in (("states", 3), ("memory", 5))
    }
    (expected,) = run(model, tmp_path / "before.onnx", **feeds)
    assert merge_projections(model) == 1
    (found,) = run(model, tmp_path / "after.onnx", **feeds)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_what_is_not_a_plain_matrix_stays_as_it_is() -> None:
    model = attention_model(Layer())
    for name in ("0.query.weight", "0.key.weight", "0.value.weight"):
        value = model.graph.initializers[name]
        value.const_value = None
    before = Counter(node.op_type for node in model.graph)
    assert merge_projections(model) == 0
    assert Counter(node.op_type for node in model.graph) == before


def cross_attention() -> ir.Model:
    """Queries from one value, keys and values from another."""
    states = ir.val("states", ir.DataType.FLOAT, ["rows", "length", WIDTH])
    memory = ir.val("memory", ir.DataType.FLOAT, ["rows", "keys", WIDTH])
    graph = ir.Graph(
        [states, memory], [], nodes=[], opset_imports={"": 20, DOMAIN: 1}, name="cross"
    )
    build = Builder(graph, "test")
    named = {}
    for name, array in weights(Layer()).items():
        value = ir.val(
            name, ir.DataType.FLOAT, array.shape, const_value=ir.tensor(array, name=name)
        )
        graph.register_initializer(value)
        named[name] = value
    query = linear(build, states, named, "0.query")
    key, value = (linear(build, memory, named, f"0.{name}") for name in ("key", "value"))
    node = ir.node("MultiHeadAttention", [query, key, value], {"num_heads": 3}, domain=DOMAIN)
    graph.append(node)
    (output,) = node.outputs
    output.name, output.dtype, output.shape = "result", ir.DataType.FLOAT, query.shape
    graph.outputs.append(output)
    return ir.Model(graph, ir_version=10)
