"""Biases that the Softmax makes superfluous: which go, which stay, and the answer that stays."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from attentions import Layer, attention_model, run, sharing_model

from export.graph.biases import absorb_biases
from export.graph.explain import explain
from export.graph.layout import merge_projections
from export.graph.standard import to_standard

TOLERANCE = 4e-6  # FP32 sums of a few dozen products in another order.

LAYERS = {
    "multi-head": (Layer(), 2),
    "shared heads": (Layer(heads=4, kv_heads=2, head_size=8), 2),
    "causal": (Layer(head_size=8, causal=True), 2),
    "no bias on the key": (Layer(biased=(True, False, True, True)), 1),
    "nothing to add the value's bias to": (Layer(biased=(True, True, True, False)), 1),
    "capped scores": (Layer(head_size=8, softcap=0.7), 1),
    "no biases": (Layer(biased=(False,) * 4), 0),
}


@pytest.mark.parametrize("name", LAYERS)
def test_additions_go_and_the_answer_stays(tmp_path: Path, name: str) -> None:
    layer, removed = LAYERS[name]
    model = attention_model(layer, layer)
    (expected,) = run(model, tmp_path / "before.onnx")
    additions = Counter(node.op_type for node in model.graph)["Add"]
    assert absorb_biases(model) == 2 * removed
    assert Counter(node.op_type for node in model.graph)["Add"] == additions - 2 * removed
    (found,) = run(model, tmp_path / "after.onnx")
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_it_combines_with_the_other_forms(tmp_path: Path) -> None:
    layer = Layer(heads=4, kv_heads=2, head_size=8)
    model = attention_model(layer, layer)
    (expected,) = run(model, tmp_path / "before.onnx")
    absorb_biases(model)
    merge_projections(model)
    to_standard(model)
    (found,) = run(model, tmp_path / "after.onnx")
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_probabilities_stay_the_same(tmp_path: Path) -> None:
    model = attention_model(Layer(), Layer(window=3))
    expected, _ = run(explain(model), tmp_path / "before.onnx")
    absorb_biases(model)
    found, _ = run(explain(model), tmp_path / "after.onnx")
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_a_bias_that_something_else_reads_stays(tmp_path: Path) -> None:
    model = attention_model(Layer())
    (node,) = (node for node in model.graph if node.op_type == "MultiHeadAttention")
    key = node.inputs[1]
    assert key is not None
    model.graph.outputs.append(key)
    key.name = "keys"
    before = run(model, tmp_path / "before.onnx")
    assert absorb_biases(model) == 1
    after = run(model, tmp_path / "after.onnx")
    for expected, found in zip(before, after, strict=True):
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_layers_that_share_their_weights_share_the_new_bias(tmp_path: Path) -> None:
    model = sharing_model(Layer())
    (expected,) = run(model, tmp_path / "before.onnx")
    assert absorb_biases(model) == 4
    assert sum("+" in name for name in model.graph.initializers) == 1
    (found,) = run(model, tmp_path / "after.onnx")
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
