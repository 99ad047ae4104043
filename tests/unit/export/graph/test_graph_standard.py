"""The standard operator: the same answers, no contrib domain, and what it refuses to raise."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from attentions import LENGTH, WIDTH, Layer, attention_model, run

from export.errors import ConversionFailed
from export.graph.decompose import decompose
from export.graph.fused import DOMAIN, count_fused, fused_nodes
from export.graph.standard import OPSET, to_standard

TOLERANCE = 2e-6  # FP32 sums of a few dozen products in another order.

LAYERS = {
    "multi-head": (Layer(), Layer(window=2)),
    "shared heads": (Layer(heads=4, kv_heads=2, head_size=8),),
    "capped": (Layer(head_size=8, softcap=0.7),),
    "causal": (Layer(head_size=8, causal=True, window=3), Layer(head_size=8, causal=True)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_standard_operator_answers_as_the_contrib_one_does(tmp_path: Path, name: str) -> None:
    model = attention_model(*LAYERS[name])
    (expected,) = run(model, tmp_path / "contrib.onnx")
    to_standard(model)
    (found,) = run(model, tmp_path / "standard.onnx")
    assert {(node.domain, node.op_type) for node in fused_nodes(model)} == {("", "Attention")}
    assert count_fused(model) == len(LAYERS[name])
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_the_model_asks_for_one_opset_alone() -> None:
    model = attention_model(Layer(head_size=8, causal=True))
    to_standard(model)
    assert dict(model.opset_imports) == {"": OPSET}
    # The lengths that only GroupQueryAttention reads.
    assert not {"test.lengths", "test.total"} & set(model.graph.initializers)


def test_names_and_origins_stay_with_the_node() -> None:
    model = attention_model(Layer())
    (node,) = fused_nodes(model)
    node.metadata_props["module"] = "encoder.layer.0"
    to_standard(model)
    (standard,) = fused_nodes(model)
    assert (standard.name, standard.metadata_props["module"]) == ("0.node", "encoder.layer.0")


def test_the_standard_operator_can_be_taken_apart(tmp_path: Path) -> None:
    model = attention_model(Layer(heads=4, kv_heads=2, head_size=8))
    (expected,) = run(model, tmp_path / "contrib.onnx")
    to_standard(model)
    decompose(model)
    (found,) = run(model, tmp_path / "pieces.onnx")
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_an_operator_that_changed_its_meaning_is_refused() -> None:
    model = attention_model(Layer())
    states = model.graph.inputs[0]
    model.graph.append(ir.node("GroupNormalization", [states, states, states], {"num_groups": 2}))
    with pytest.raises(ConversionFailed, match="GroupNormalization of opset 20"):
        to_standard(model)
    assert model.opset_imports[""] == 20


def test_a_graph_without_contrib_attention_stays_as_it_is() -> None:
    states = ir.val("states", ir.DataType.FLOAT, [2, LENGTH, WIDTH])
    node = ir.node("Neg", [states])
    graph = ir.Graph(
        [states], node.outputs, nodes=[node], opset_imports={"": 20, DOMAIN: 1}, name="plain"
    )
    model = ir.Model(graph, ir_version=10)
    to_standard(model)
    assert (model.opset_imports[""], model.ir_version) == (20, 10)
