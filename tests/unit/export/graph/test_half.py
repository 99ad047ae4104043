"""FP16 on planted graphs: what is halved, what is not, and that the answer stays."""

from pathlib import Path

import numpy as np
import onnx.numpy_helper
import onnx.parser
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

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
