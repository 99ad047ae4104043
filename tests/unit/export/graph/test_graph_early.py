"""Choosing tokens before the last layer: the same vectors from fewer sums."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from attentions import WIDTH, Layer, attention_model, linear, probabilities, run

from export.graph import select
from export.graph.biases import absorb_biases
from export.graph.builder import Builder
from export.graph.early import select_early
from export.graph.explain import save_explain
from export.graph.fused import fused_nodes
from export.graph.standard import to_standard

TOLERANCE = 1e-5  # FP32 sums of a few dozen products in another order, of values around 10.

BEHIND_ATTENTION = 9
"""Output projection and its bias, scale, residual, norm, and two linear layers of four nodes."""
AT_ATTENTION = 3
"""Attention itself and the query's projection with bias."""

LAYERS: dict[str, tuple[Layer, Callable[[ir.Model], object], int]] = {
    "multi-head": (Layer(), lambda _: None, BEHIND_ATTENTION + AT_ATTENTION),
    "standard": (Layer(), to_standard, BEHIND_ATTENTION + AT_ATTENTION),
    "standard, shared heads": (
        Layer(heads=4, kv_heads=2, head_size=8),
        to_standard,
        BEHIND_ATTENTION + AT_ATTENTION,
    ),
    "absorbed biases": (Layer(), absorb_biases, BEHIND_ATTENTION + AT_ATTENTION),
    # The operator wants as many queries as keys.
    "grouped": (Layer(head_size=8, causal=True), lambda _: None, BEHIND_ATTENTION),
}


def transformer(layer: Layer, pooling: select.Pooling) -> ir.Model:
    """Two layers, residual, norm, feed-forward and pooling."""
    model = attention_model(layer, layer)
    graph = model.graph
    (states,) = graph.outputs
    build = Builder(graph, "rest")
    random = np.random.default_rng(2)
    named = {}
    for name, shape in {
        "in.weight": (WIDTH, 20), "in.bias": (20,), "out.weight": (20, WIDTH), "scale": (WIDTH,),
        "residual.scale": (1, 1, WIDTH),
    }.items():  # fmt: skip
        named[name] = build.constant(name, random.normal(size=shape).astype(np.float32))
    states = shaped(build.op("Mul", [states, named["residual.scale"]]))
    states = shaped(build.op("Add", [states, graph.inputs[0]]))
    normed = shaped(build.op("LayerNormalization", [states, named["scale"]], axis=-1))
    inner = build.op("Gelu", [linear(build, normed, named, "in")])
    inner.dtype, inner.shape = ir.DataType.FLOAT, ir.Shape(["rows", "length", 20])
    states = shaped(linear(build, inner, named, "out"))
    pooled = select.pool(model, states, pooling, WIDTH)
    pooled.name, pooled.dtype, pooled.shape = "pooled", ir.DataType.FLOAT, ir.Shape(["n", WIDTH])
    graph.outputs[:] = [pooled]
    return model


def shaped(value: ir.Value) -> ir.Value:
    value.dtype, value.shape = ir.DataType.FLOAT, ir.Shape(["rows", "length", WIDTH])
    return value


@pytest.mark.parametrize("pooling", ["cls", "last"])
@pytest.mark.parametrize("name", LAYERS)
def test_fewer_tokens_give_the_same_vectors(
    tmp_path: Path, name: str, pooling: select.Pooling
) -> None:
    layer, edit, moved = LAYERS[name]
    model = transformer(layer, pooling)
    (expected,) = run(model, tmp_path / "before.onnx")
    edit(model)
    assert select_early(model) == moved
    assert len(list(fused_nodes(model))) == 2
    (found,) = run(model, tmp_path / "after.onnx")
    assert found.shape == (4, WIDTH)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pooling_that_reads_every_token_leaves_the_graph_as_it_is(pooling: select.Pooling) -> None:
    model = transformer(Layer(), pooling)
    nodes = list(model.graph)
    assert select_early(model) == 0
    assert list(model.graph) == nodes


def test_states_that_are_an_output_too_are_computed_for_every_token(tmp_path: Path) -> None:
    model = transformer(Layer(), "cls")
    gelu = next(node for node in model.graph if node.op_type == "Gelu")
    (inner,) = gelu.outputs
    inner.name = "inner"
    model.graph.outputs.append(inner)
    expected = run(model, tmp_path / "before.onnx")
    # Only what comes behind the second output.
    assert select_early(model) == 1
    for before, after in zip(expected, run(model, tmp_path / "after.onnx"), strict=True):
        np.testing.assert_allclose(after, before, atol=TOLERANCE)


def test_a_bias_of_each_head_keeps_all_queries(tmp_path: Path) -> None:
    model = transformer(Layer(), "cls")
    second = list(fused_nodes(model))[1]
    bias = second.inputs[5]
    assert bias is not None
    heads = Builder(model.graph, "relative").constant("bias", np.ones((1, 3, 1, 1), np.float32))
    added = ir.node("Add", [bias, heads])
    model.graph.insert_before(second, added)
    added.outputs[0].dtype = ir.DataType.FLOAT
    added.outputs[0].shape = ir.Shape(["rows", 3, "length", "length"])
    second.replace_input_with(5, added.outputs[0])
    (expected,) = run(model, tmp_path / "before.onnx")
    assert select_early(model) == BEHIND_ATTENTION
    (found,) = run(model, tmp_path / "after.onnx")
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_every_token_can_still_be_explained(tmp_path: Path) -> None:
    model = transformer(Layer(), "cls")
    whole = model.clone()
    select_early(model)
    ir.save(model, tmp_path / "model.onnx", external_data="model.onnx.data")
    explained = save_explain(tmp_path / "model.onnx", tmp_path / "explain.onnx", whole)
    query = explained.graph.initializers["0.query.weight"].const_value
    assert isinstance(query, ir.ExternalTensor)
    attentions, _ = run(ir.load(tmp_path / "explain.onnx"), tmp_path / "explain.onnx")
    expected = np.stack(probabilities(Layer(), Layer()))
    np.testing.assert_allclose(attentions, expected, atol=TOLERANCE)
