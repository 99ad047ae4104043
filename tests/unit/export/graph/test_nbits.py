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


def to_nearest(weight: Matrix) -> Matrix:
    """Round between the ends of each block, written out a second time."""
    rounded = np.empty_like(weight)
    for column in range(weight.shape[1]):
        for start in range(0, weight.shape[0], nbits.BLOCK):
            block = weight[start : start + nbits.BLOCK, column]
            low, high = min(block.min(), 0), max(block.max(), 0)
            scale = (high - low) / 15
            zero = np.rint(-low / scale)
            steps = np.clip(np.rint(block / scale) + zero, 0, 15)
            rounded[start : start + nbits.BLOCK, column] = (steps - zero) * scale
    return rounded


def squares(weight: Matrix, rounded: Matrix) -> Matrix:
    """Return the error of each block."""
    blocks: Matrix = np.square(weight - rounded).reshape(-1, nbits.BLOCK, weight.shape[1])
    total: Matrix = blocks.sum(axis=1)
    return total


def test_no_block_is_missed_by_more_than_between_its_ends() -> None:
    weight = matrix()
    found = squares(weight, nbits.unpack(nbits.pack(weight)))
    nearest = squares(weight, to_nearest(weight))
    assert (found <= nearest * (1 + 1e-5)).all()
    assert found.sum() < 0.97 * nearest.sum()


def test_a_matrix_rounded_in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = matrix()
    whole = nbits.pack(weight)
    monkeypatch.setattr(nbits, "_AT_ONCE", 7 * SIZE)
    parts = nbits.pack(weight)
    np.testing.assert_array_equal(parts.packed, whole.packed)
    np.testing.assert_array_equal(parts.scales, whole.scales)
    np.testing.assert_array_equal(parts.zeros, whole.zeros)


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
