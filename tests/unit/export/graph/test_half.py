"""FP16 on planted graphs: what is halved, what is not, and that the answer stays."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx.numpy_helper
import onnx.parser
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from export.errors import ConversionFailed
from export.graph.half import to_half
from server.runtime.session import Session, SessionConfig

GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
model (int64[rows, length] ids, int64[rows, length] position_ids) => (float[rows, 4] answer)
{
    states = Gather (table, ids)
    turned = MatMul (states, weight)
    squares = Pow (turned, two)
    size = ReduceMean <keepdims = 1> (squares, last)
    padded = Add (size, tiny)
    root = Sqrt (padded)
    normal = Div (turned, root)
    places = Cast <to = 1> (position_ids)
    angles = Mul (places, frequency)
    waves = Sin (angles)
    column = Unsqueeze (waves, last)
    moved = Add (normal, column)
    answer = ReduceSum <keepdims = 0> (moved, middle)
}
"""


@pytest.fixture
def model() -> ir.Model:
    draw = np.random.default_rng(3)
    constants: dict[str, NDArray[np.generic]] = {
        # Squares of these are beyond FP16.
        "table": draw.normal(size=(9, 6)).astype(np.float32) * 400,
        "weight": draw.normal(size=(6, 4)).astype(np.float32),
        "two": np.array(2, np.float32),
        "tiny": np.array(1e-6, np.float32),
        "frequency": np.array(0.5, np.float32),
        "last": np.array([-1], np.int64),
        "middle": np.array([1], np.int64),
    }
    proto = onnx.parser.parse_model(GRAPH)
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in constants.items()
    )
    return ir.from_proto(proto)


def run(model: ir.Model, directory: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    path = f"{directory}/model.onnx"
    ir.save(model, path)
    session = Session(Path(path), SessionConfig())
    feeds = {
        "ids": np.array([[1, 5, 8], [0, 2, 2]], np.int64),
        # Beyond what eleven bits can count.
        "position_ids": np.array([[4097, 1, 2], [9, 8191, 3]], np.int64),
    }
    return session.run(feeds)[0].astype(np.float32)


def test_weights_are_halved_and_the_answer_is_near(
    model: ir.Model, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = run(model, str(tmp_path_factory.mktemp("full")))
    to_half(model)
    weights = {
        value.name: value.const_value.dtype
        for value in model.graph.initializers.values()
        if value.const_value is not None
    }
    assert weights["table.fp16"] == weights["weight.fp16"] == ir.DataType.FLOAT16
    assert {"table", "weight"}.isdisjoint(weights)
    after = run(model, str(tmp_path_factory.mktemp("half")))
    np.testing.assert_allclose(after, before, rtol=5e-3, atol=5e-3)


def test_inputs_and_outputs_of_the_graph_keep_their_types(model: ir.Model) -> None:
    to_half(model)
    assert [value.dtype for value in model.graph.outputs] == [ir.DataType.FLOAT]
    assert [value.name for value in model.graph.outputs] == ["answer"]


def test_sums_of_squares_and_angles_stay_full(model: ir.Model) -> None:
    to_half(model)
    types = {node.op_type: node for node in model.graph}
    assert types["Pow"].inputs[0] is not types["MatMul"].outputs[0]
    assert types["Sin"].inputs[0] is types["Mul"].outputs[0]


def parsed(text: str, **constants: NDArray[np.generic]) -> ir.Model:
    head = '<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]>'
    proto = onnx.parser.parse_model(head + text)
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in constants.items()
    )
    return ir.from_proto(proto)


def answers(
    model: ir.Model, directory: Path, **feeds: NDArray[np.generic]
) -> NDArray[np.floating[Any]]:
    ir.save(model, directory / "model.onnx")
    (found,) = Session(directory / "model.onnx", SessionConfig()).run(feeds)
    assert found.dtype == np.float32
    return found.astype(np.float64)


def drawn(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def test_bias_and_gelu_become_the_operator_that_both_providers_have(tmp_path: Path) -> None:
    text = """
    model (float[rows, 8] x) => (float[rows, 8] y)
    {
        product = MatMul (x, weight)
        raised = Add (bias, product)
        active = Gelu (raised)
        y = MatMul (active, weight)
    }
    """
    constants = {"weight": drawn(8, 8), "bias": drawn(8)}
    before = answers(parsed(text, **constants), tmp_path, x=drawn(5, 8))
    halved = parsed(text, **constants)
    to_half(halved)
    assert {"Gelu", "Add"}.isdisjoint(node.op_type for node in halved.graph)
    np.testing.assert_allclose(
        answers(halved, tmp_path, x=drawn(5, 8)), before, rtol=1e-2, atol=1e-2
    )


@pytest.mark.parametrize(
    "attention",
    [
        "MultiHeadAttention <num_heads = 2> (states, states, states, , , bias)",
        (
            "GroupQueryAttention <num_heads = 2, kv_num_heads = 2, causal = 0>"
            " (states, states, states, , , lengths, total, , , , bias)"
        ),
    ],
    ids=["multi-head", "group-query"],
)
def test_fused_attention_runs_in_half_on_cpu_under_a_mask_beyond_its_range(
    tmp_path: Path, attention: str
) -> None:
    text = f"""
    model (float[1, 4, 16] x, bool[4, 4] seen, int32[1] lengths, int32 total) => (float[1, 4, 16] y)
    {{
        states = MatMul (x, weight)
        square = Where (seen, nothing, lowest)
        bias = Unsqueeze (square, front)
        mixed = com.microsoft.{attention}
        y = MatMul (mixed, weight)
    }}
    """
    constants = {
        "weight": drawn(16, 16) / np.float32(4), "nothing": np.array(0, np.float32),
        "lowest": np.array(np.finfo(np.float32).min), "front": np.array([0, 1]),
    }  # fmt: skip
    feeds: dict[str, NDArray[np.generic]] = {
        "x": drawn(1, 4, 16), "seen": np.tri(4, dtype=np.bool_),
        "lengths": np.array([3], np.int32), "total": np.array(4, np.int32),
    }  # fmt: skip
    before = answers(parsed(text, **constants), tmp_path, **feeds)
    halved = parsed(text, **constants)
    to_half(halved)
    lowest = halved.graph.initializers["lowest.fp16"].const_value
    assert lowest is not None
    assert np.isfinite(lowest.numpy())
    np.testing.assert_allclose(answers(halved, tmp_path, **feeds), before, rtol=2e-2, atol=2e-2)


def test_a_guard_that_half_precision_takes_for_zero_keeps_its_sum_full(tmp_path: Path) -> None:
    text = """
    model (float[rows, 8] x) => (float[rows, 8] y)
    {
        product = MatMul (x, weight)
        guarded = Add (product, tiny)
        shares = Div (product, guarded)
        y = MatMul (shares, weight)
    }
    """
    halved = parsed(text, weight=drawn(8, 8), tiny=np.array(1e-12, np.float32))
    to_half(halved)
    assert np.isfinite(answers(halved, tmp_path, x=np.zeros((2, 8), np.float32))).all()


def test_lists_of_tensors_are_halved_with_what_they_hold(tmp_path: Path) -> None:
    text = """
    model (float[rows, 8] x) => (float[rows, 4] y)
    {
        product = MatMul (x, weight)
        list = SplitToSequence <axis = 1> (product, sizes)
        y = SequenceAt (list, index)
    }
    """
    constants: dict[str, NDArray[np.generic]] = {
        "weight": drawn(8, 8), "sizes": np.array([4, 4]), "index": np.array(1),
    }  # fmt: skip
    halved = parsed(text, **constants)
    to_half(halved)
    expected = drawn(3, 8) @ drawn(8, 8)[:, 4:]
    found = answers(halved, tmp_path, x=drawn(3, 8))
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2)


def test_control_flow_is_refused() -> None:
    text = """
    model (bool choice, float[8] x) => (float[8] y)
    {
        y = If (choice) <
            then_branch = yes () => (float[8] one) { one = Neg (x) },
            else_branch = no () => (float[8] two) { two = Abs (x) }
        >
    }
    """
    with pytest.raises(ConversionFailed, match="control flow"):
        to_half(parsed(text))
