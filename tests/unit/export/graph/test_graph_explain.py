"""The explaining graph: probabilities and rollout against NumPy, and weights that are shared."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from attentions import LENGTH, ROWS, SEGMENT_IDS, Layer, attention_model, probabilities, run
from numpy.typing import NDArray

from export.errors import ConversionFailed
from export.graph.explain import MAX_INLINE_BYTES, explain, save_explain
from export.graph.fused import count_fused

TOLERANCE = 2e-6  # FP32 sums of a few dozen products in another order.

LAYERS = {
    "multi-head": (Layer(), Layer()),
    "global and window": (Layer(), Layer(window=2)),
    "shared heads": (Layer(heads=4, kv_heads=2, head_size=8),) * 2,
    "causal": (Layer(head_size=8, causal=True), Layer(head_size=8, causal=True, window=3)),
    "capped": (Layer(head_size=8, softcap=0.7), Layer(head_size=8, softcap=0.7)),
}
SAME = SEGMENT_IDS[:, :, None] == SEGMENT_IDS[:, None, :]
PADDING = SEGMENT_IDS == 0


def rollout(layers: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Abnar and Zuidema 2020, equation 1 and what follows it."""
    seen = np.broadcast_to(np.eye(LENGTH), (ROWS, LENGTH, LENGTH))
    for layer in layers:
        mixed = layer.mean(axis=1) + np.eye(LENGTH)
        seen = mixed / mixed.sum(axis=2, keepdims=True) @ seen
    return seen


@pytest.mark.parametrize("name", LAYERS)
def test_probabilities_and_rollout_are_those_of_the_layers(tmp_path: Path, name: str) -> None:
    attentions, rolled = run(explain(attention_model(*LAYERS[name])), tmp_path / "explain.onnx")
    expected = probabilities(*LAYERS[name])
    np.testing.assert_allclose(attentions, np.stack(expected), atol=TOLERANCE)
    np.testing.assert_allclose(rolled, rollout(expected), atol=TOLERANCE)


def test_sequences_of_a_row_give_each_other_exactly_nothing(tmp_path: Path) -> None:
    attentions, rolled = run(explain(attention_model(Layer(), Layer())), tmp_path / "explain.onnx")
    across = np.broadcast_to(~SAME[None, :, None], attentions.shape)
    assert not attentions[across].any()
    assert not rolled[~SAME].any()


def test_padding_attends_nothing_and_stays_with_itself(tmp_path: Path) -> None:
    attentions, rolled = run(explain(attention_model(Layer(), Layer())), tmp_path / "explain.onnx")
    assert not attentions.transpose(1, 3, 0, 2, 4)[PADDING].any()
    np.testing.assert_array_equal(rolled[PADDING], np.tile(np.eye(LENGTH), (2, 1, 1))[PADDING])
    np.testing.assert_allclose(rolled.sum(axis=2), 1.0, atol=TOLERANCE)


def test_outputs_say_what_they_are() -> None:
    explained = explain(attention_model(Layer(), Layer()))
    assert [(value.name, str(value.shape)) for value in explained.graph.outputs] == [
        ("attentions", "[2,rows,3,length,length]"),
        ("rollout", "[rows,length,length]"),
    ]


def test_layers_of_unequal_shape_are_outputs_of_their_own(tmp_path: Path) -> None:
    layers = (Layer(), Layer(heads=6, kv_heads=6))
    explained = explain(attention_model(*layers))
    assert [(value.name, str(value.shape)) for value in explained.graph.outputs] == [
        ("attentions.0", "[rows,3,length,length]"),
        ("attentions.1", "[rows,6,length,length]"),
        ("rollout", "[rows,length,length]"),
    ]
    *found, _ = run(explained, tmp_path / "explain.onnx")
    for one, expected in zip(found, probabilities(*layers), strict=True):
        np.testing.assert_allclose(one, expected, atol=TOLERANCE)


def test_layers_that_attend_to_something_else_have_no_rollout() -> None:
    model = attention_model(Layer(), Layer())
    (first, second) = (node for node in model.graph if node.op_type == "MultiHeadAttention")
    for value in (second.inputs[1], second.inputs[2]):
        assert value is not None
        value.shape = ir.Shape(["rows", "memory", 12])
    assert [value.name for value in explain(model).graph.outputs] == [
        "attentions.0",
        "attentions.1",
    ]
    assert first is not second


def test_the_model_itself_is_not_changed() -> None:
    model = attention_model(Layer(), Layer())
    names = [node.name for node in model.graph]
    explain(model)
    assert [node.name for node in model.graph] == names
    assert [value.name for value in model.graph.outputs] == ["result"]
    assert count_fused(model) == 2


def test_what_only_the_answer_needs_is_left_out() -> None:
    explained = explain(attention_model(Layer(), Layer()))
    left_out = {f"1.{name}" for name in ("value.weight", "output.weight", "output.bias")}
    assert not left_out & set(explained.graph.initializers)
    assert "0.output.weight" in explained.graph.initializers


def test_both_files_point_at_the_same_weights(tmp_path: Path) -> None:
    path, weights = tmp_path / "model.onnx", tmp_path / "model.onnx.data"
    ir.save(attention_model(Layer(), Layer()), path, external_data=weights.name)
    before = (weights.read_bytes(), weights.stat().st_mtime_ns)
    save_explain(path, tmp_path / "explain.onnx")
    assert (weights.read_bytes(), weights.stat().st_mtime_ns) == before
    model, explained = ir.load(path), ir.load(tmp_path / "explain.onnx")
    shared = set(model.graph.initializers) & set(explained.graph.initializers)
    assert "0.query.weight" in shared
    for name in shared:
        assert place(model, name) == place(explained, name)
    attentions, _ = run(explained, tmp_path / "explain.onnx")
    np.testing.assert_allclose(
        attentions, np.stack(probabilities(Layer(), Layer())), atol=TOLERANCE
    )


def test_weights_inside_the_model_file_are_not_copied(tmp_path: Path) -> None:
    wide = Layer(head_size=MAX_INLINE_BYTES // 128)
    ir.save(attention_model(wide), tmp_path / "model.onnx")
    with pytest.raises(ConversionFailed, match="write the model with external data"):
        save_explain(tmp_path / "model.onnx", tmp_path / "explain.onnx")
    assert not (tmp_path / "explain.onnx").exists()


def test_a_place_from_which_the_weights_cannot_be_reached_is_refused(tmp_path: Path) -> None:
    ir.save(attention_model(Layer()), tmp_path / "model.onnx", external_data="model.onnx.data")
    with pytest.raises(ConversionFailed, match=r"beside model\.onnx"):
        save_explain(tmp_path / "model.onnx", tmp_path / "elsewhere" / "explain.onnx")


def test_a_graph_without_attention_is_refused() -> None:
    model = attention_model()
    with pytest.raises(ConversionFailed, match="no fused attention"):
        explain(model)


def place(model: ir.Model, name: str) -> tuple[str, int | None, int | None] | None:
    """File, offset and length of a tensor, or None where it is stored in the graph's own file."""
    tensor = model.graph.initializers[name].const_value
    if not isinstance(tensor, ir.ExternalTensor):
        return None
    return str(tensor.location), tensor.offset, tensor.length
