"""Four-bit weights: packing, and the operator against a product with what it packs."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from export.graph import nbits
from export.graph.weights import Matrix
from server.runtime.session import Session, SessionConfig

SIZE, WIDTH = 96, 40


def matrix() -> Matrix:
    return np.random.default_rng(5).normal(size=(SIZE, WIDTH)).astype(np.float32)


def linear(weight: Matrix) -> ir.Model:
    source = ir.val("source", ir.DataType.FLOAT, ["rows", weight.shape[0]])
    constant = ir.Value(name="weight", const_value=ir.tensor(weight, name="weight"))
    node = ir.node("MatMul", [source, constant])
    node.outputs[0].name = "product"
    node.outputs[0].dtype = ir.DataType.FLOAT
    graph = ir.Graph(
        [source], [node.outputs[0]], nodes=[node], initializers=[constant],
        opset_imports={"": 20}, name="linear",
    )  # fmt: skip
    return ir.Model(graph, ir_version=10)


def test_unpacking_is_within_half_a_step_of_the_weights() -> None:
    weight = matrix()
    blocks = nbits.pack(weight)
    steps = np.repeat(blocks.scales.reshape(WIDTH, -1), nbits.BLOCK, axis=1).T
    assert (np.abs(nbits.unpack(blocks) - weight) <= 0.501 * steps).all()


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
def test_blocks_of_one_value_are_exact(value: float) -> None:
    weight = np.full((nbits.BLOCK, 4), value, np.float32)
    np.testing.assert_allclose(nbits.unpack(nbits.pack(weight)), weight, atol=1e-6)


def test_the_operator_multiplies_by_what_was_packed(tmp_path: Path) -> None:
    weight = matrix()
    model = linear(weight)
    assert nbits.quantize(model) == ("weight",)
    ir.save(model, tmp_path / "model.onnx")
    source = np.random.default_rng(6).normal(size=(7, SIZE)).astype(np.float32)
    (answer,) = Session(tmp_path / "model.onnx", SessionConfig()).run({"source": source})
    found = answer.astype(np.float32)
    expected = source @ nbits.unpack(nbits.pack(weight))
    # Activations are rounded to eight bits inside the kernel.
    assert np.abs(found - expected).max() <= 0.02 * np.abs(expected).max()


def test_an_answer_does_not_depend_on_its_batch_mates(tmp_path: Path) -> None:
    model = linear(matrix())
    nbits.quantize(model)
    ir.save(model, tmp_path / "model.onnx")
    session = Session(tmp_path / "model.onnx", SessionConfig())
    one = np.random.default_rng(7).normal(size=(1, SIZE)).astype(np.float32)
    outlier = np.full((1, SIZE), 1e4, np.float32)
    (alone,) = session.run({"source": one})
    (beside,) = session.run({"source": np.concatenate([one, outlier])})
    np.testing.assert_array_equal(beside[:1], alone)


def test_kept_layers_and_odd_sizes_stay_in_float() -> None:
    assert nbits.quantize(linear(matrix()), keep=["weight"]) == ()
    assert nbits.quantize(linear(matrix()[:40])) == ()
