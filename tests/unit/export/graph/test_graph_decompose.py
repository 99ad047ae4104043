"""Taking fused attention apart: the same answers from matrix products and a Softmax."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from attentions import WIDTH, Layer, attention_model, inputs, probabilities, run

from export.errors import ConversionFailed
from export.graph.decompose import decompose, take_apart
from export.graph.fused import DOMAIN, count_fused, fused_nodes

TOLERANCE = 2e-6  # FP32 sums of a few dozen products in another order.

LAYERS = {
    "multi-head": Layer(),
    "windowed": Layer(window=2),
    "shared heads": Layer(heads=4, kv_heads=2, head_size=8),
    "one key head": Layer(heads=4, kv_heads=1, head_size=8),
    "causal": Layer(kv_heads=3, causal=True, head_size=8),
    "causal window": Layer(kv_heads=1, causal=True, window=3, head_size=8),
    "no biases": Layer(biased=(False,) * 4),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_pieces_answer_as_the_fused_node_does(tmp_path: Path, name: str) -> None:
    model = attention_model(LAYERS[name], LAYERS[name])
    (expected,) = run(model, tmp_path / "fused.onnx")
    decompose(model)
    (found,) = run(model, tmp_path / "pieces.onnx")
    assert not count_fused(model)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_the_pieces_are_those_of_eager_attention() -> None:
    model = attention_model(Layer(heads=4, kv_heads=2, head_size=8))
    before = Counter(node.op_type for node in model.graph)
    decompose(model)
    added = Counter(node.op_type for node in model.graph) - before
    assert added == {
        "Reshape": 6, "Transpose": 4, "MatMul": 2, "Mul": 1, "Add": 1, "Softmax": 1, "Expand": 2,
    }  # fmt: skip


def test_capped_scores_are_capped_before_the_mask(tmp_path: Path) -> None:
    layer = Layer(head_size=8, softcap=0.7)
    model = attention_model(layer)
    (shares,) = take_apart(model)
    shares.name = "shares"
    model.graph.outputs.append(shares)
    _, found = run(model, tmp_path / "pieces.onnx")
    real = np.asarray(inputs()["segment_ids"])[:, None, :, None] > 0
    (expected,) = probabilities(layer)
    np.testing.assert_allclose(found * real, expected, atol=TOLERANCE)


def test_probabilities_are_handed_out_in_order_with_their_shape() -> None:
    layers = (Layer(), Layer(heads=6, kv_heads=6, head_size=2))
    shares = take_apart(attention_model(*layers))
    assert [str(value.shape) for value in shares] == [
        "[rows,3,length,length]",
        "[rows,6,length,length]",
    ]


def test_queries_may_be_fewer_than_keys(tmp_path: Path) -> None:
    query = ir.val("query", ir.DataType.FLOAT, ["rows", "queries", WIDTH])
    memory = ir.val("memory", ir.DataType.FLOAT, ["rows", "keys", WIDTH])
    node = ir.node("MultiHeadAttention", [query, memory, memory], {"num_heads": 3}, domain=DOMAIN)
    (output,) = node.outputs
    output.name, output.dtype = "result", ir.DataType.FLOAT
    output.shape = ir.Shape(["rows", "queries", WIDTH])
    graph = ir.Graph(
        [query, memory], [output], nodes=[node], opset_imports={"": 20, DOMAIN: 1}, name="cross"
    )
    model = ir.Model(graph, ir_version=10)
    random = np.random.default_rng(1)
    feeds = {
        name: random.normal(size=(2, length, WIDTH)).astype(np.float32)
        for name, length in (("query", 3), ("memory", 5))
    }
    (expected,) = run(model, tmp_path / "fused.onnx", **feeds)
    (shares,) = take_apart(model)
    (found,) = run(model, tmp_path / "pieces.onnx", **feeds)
    assert str(shares.shape) == "[rows,3,queries,keys]"
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_a_mask_that_would_be_lost_is_refused() -> None:
    model = attention_model(Layer())
    (node,) = fused_nodes(model)
    node.resize_inputs(6)
    node.replace_input_with(4, ir.val("lengths", ir.DataType.INT32, ["rows"]))
    with pytest.raises(ConversionFailed, match="uses input 4"):
        decompose(model)


def test_a_causal_node_without_a_bias_is_refused() -> None:
    model = attention_model(Layer(causal=True))
    (node,) = fused_nodes(model)
    node.replace_input_with(10, None)
    with pytest.raises(ConversionFailed, match="causal without a bias"):
        decompose(model)
