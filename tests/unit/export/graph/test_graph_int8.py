"""INT8 on planted graphs, as served with every optimiser on, against the same sums in NumPy."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx.numpy_helper
import onnx.parser
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from export.errors import ConversionFailed
from export.graph import int8, ranges
from export.graph.ranges import Range
from server.runtime.session import Session, SessionConfig

Floats = NDArray[np.float32]

SIZE, WIDTH = 64, 48
TOLERANCE = 2e-5
"""FP32 scales applied to exact sums of integers."""

LAYER = """
model (float[rows, length, 64] x) => (float[rows, length, 48] y)
{
    product = MatMul (x, weight)
    y = Add (product, bias)
}
"""
PROJECTIONS = """
model (float[rows, length, 64] x) => (float[rows, length, 48] y)
{
    one = MatMul (x, weight)
    two = MatMul (x, second)
    y = Sub (one, two)
}
"""
MLP = """
model (float[rows, length, 64] x) => (float[rows, length, 64] y)
{
    states = LayerNormalization <axis = -1> (x, gain)
    product = MatMul (states, weight)
    raised = Add (product, bias)
    active = Gelu (raised)
    y = MatMul (active, back)
}
"""
TWICE = """
model (float[rows, length, 64] x) => (float[rows, length, 64] y)
{
    once = MatMul (x, square)
    y = MatMul (once, square)
}
"""
TIED = """
model (int64[rows, length] ids) => (float[rows, length, 1200] y)
{
    states = Gather (table, ids)
    columns = Transpose <perm = [1, 0]> (table)
    y = MatMul (states, columns)
}
"""
GEMM = """
model (float[rows, 64] x) => (float[rows, 48] y)
{
    y = Gemm <transB = 1> (x, turned, bias)
}
"""
GROUPS = """
model (float[rows, 48, 64] x) => (float[rows, 48, 48] y)
{
    states = GroupNormalization <num_groups = 2> (x, both, both)
    y = MatMul (states, weight)
}
"""


def constants() -> dict[str, Floats]:
    draw = np.random.default_rng(4)
    shapes = {
        "weight": (SIZE, WIDTH), "second": (SIZE, WIDTH), "square": (SIZE, SIZE),
        "turned": (WIDTH, SIZE), "back": (WIDTH, SIZE), "bias": (WIDTH,), "gain": (SIZE,),
        "table": (1200, SIZE), "both": (2,),
    }  # fmt: skip
    return {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def model(text: str, **replaced: Floats) -> ir.Model:
    proto = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 20]>' + text)
    used = {name for node in proto.graph.node for name in node.input}
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name)
        for name, array in (constants() | replaced).items()
        if name in used
    )
    return ir.from_proto(proto)


def tokens(rows: int = 3, length: int = 5) -> Floats:
    """States of very different reach."""
    draw = np.random.default_rng(8)
    reach = np.exp(draw.normal(scale=2.0, size=(rows, length, 1)))
    states: Floats = (draw.normal(size=(rows, length, SIZE)) * reach).astype(np.float32)
    return states


def served(rounded: ir.Model, directory: Path, name: str = "model.onnx") -> Session:
    ir.save(rounded, directory / name)
    return Session(directory / name, SessionConfig())


def run(session: Session, **feeds: NDArray[np.generic]) -> Floats:
    (found,) = session.run(feeds)
    return found.astype(np.float32)


def by_token(x: Floats, weight: Floats) -> Floats:
    """Round tokens to 8 bits around 0, columns of weights to 8 bits, and multiply integers."""
    scale = np.abs(x).max(axis=-1, keepdims=True) / np.float32(127)
    columns = np.abs(weight).max(axis=0) / np.float32(127)
    product = np.rint(x / scale).astype(np.int64) @ np.rint(weight / columns).astype(np.int64)
    rounded: Floats = (product * scale * columns).astype(np.float32)
    return rounded


def relative(found: Floats, expected: Floats) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def operators(rounded: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in rounded.graph)


def measured(text: str, directory: Path, x: Floats, **replaced: Floats) -> dict[str, Range]:
    session = served(ranges.tap(model(text, **replaced)), directory, "ranges.onnx")
    return ranges.join(session.output_names, [session.run({"x": x})])


def test_a_layer_is_the_product_of_rounded_tokens_and_rounded_columns(tmp_path: Path) -> None:
    rounded = model(LAYER)
    assert int8.quantize(rounded) == ("weight",)
    x, named = tokens(), constants()
    found = run(served(rounded, tmp_path), x=x)
    assert relative(found, by_token(x, named["weight"]) + named["bias"]) <= TOLERANCE


@pytest.mark.parametrize("fixed", [False, True])
def test_no_answer_depends_on_its_batch_mates(tmp_path: Path, fixed: bool) -> None:  # noqa: FBT001
    x = tokens()
    rounded = model(MLP)
    int8.quantize(rounded, ranges=measured(MLP, tmp_path, x), fixed=fixed)
    session = served(rounded, tmp_path)
    together = run(session, x=x)
    for row in range(len(x)):
        np.testing.assert_array_equal(run(session, x=x[row : row + 1])[0], together[row])
    outlier = np.concatenate([x[:1], np.full_like(x[:1], 1e4)])
    np.testing.assert_array_equal(run(session, x=outlier)[0], together[0])


def test_layers_that_read_the_same_value_share_its_rounding(tmp_path: Path) -> None:
    rounded = model(PROJECTIONS)
    assert int8.quantize(rounded) == ("weight", "second")
    assert operators(rounded)["QuantizeLinear"] == 1
    x, named = tokens(), constants()
    expected = by_token(x, named["weight"]) - by_token(x, named["second"])
    assert relative(run(served(rounded, tmp_path), x=x), expected) <= TOLERANCE


def test_kept_layers_stay_in_float(tmp_path: Path) -> None:
    rounded = model(PROJECTIONS)
    assert int8.quantize(rounded, keep={"weight"}) == ("second",)
    x, named = tokens(), constants()
    expected = x @ named["weight"] - by_token(x, named["second"])
    assert relative(run(served(rounded, tmp_path), x=x), expected) <= TOLERANCE


def test_small_matrices_stay_in_float() -> None:
    rounded = model(LAYER, weight=constants()["weight"][:, :31], bias=constants()["bias"][:31])
    assert int8.quantize(rounded) == ()
    assert operators(rounded) == {"MatMul": 1, "Add": 1}


def test_weights_that_two_layers_use_are_stored_once(tmp_path: Path) -> None:
    rounded = model(TWICE)
    assert int8.quantize(rounded) == ("square",)
    stored = [v for v in rounded.graph.initializers.values() if v.dtype == ir.DataType.INT8]
    assert len(stored) == 1
    x, square = tokens(), constants()["square"]
    # A last bit of the first product may be a whole step of the second.
    expected = by_token(by_token(x, square), square)
    assert relative(run(served(rounded, tmp_path), x=x), expected) <= 0.03


def test_a_tied_table_is_rounded_by_row_and_by_column(tmp_path: Path) -> None:
    rounded = model(TIED)
    assert int8.quantize(rounded) == ("table",)
    table = constants()["table"]
    scale = np.abs(table).max(axis=1, keepdims=True) / np.float32(127)
    ids = np.array([[3, 0], [1199, 3]], np.int64)
    states = (np.rint(table / scale) * scale).astype(np.float32)[ids]
    found = run(served(rounded, tmp_path), ids=ids)
    assert relative(found, by_token(states, table.T)) <= TOLERANCE


def test_a_gemm_is_rounded_as_a_matmul_is(tmp_path: Path) -> None:
    rounded = model(GEMM)
    assert int8.quantize(rounded) == ("turned",)
    x, named = tokens()[0], constants()
    expected = by_token(x, named["turned"].T) + named["bias"]
    assert relative(run(served(rounded, tmp_path), x=x), expected) <= TOLERANCE


def test_a_vector_of_zeros_gives_the_bias_and_no_vectors_give_none(tmp_path: Path) -> None:
    rounded = model(GEMM)
    int8.quantize(rounded)
    session = served(rounded, tmp_path)
    zeros = np.zeros((2, SIZE), np.float32)
    np.testing.assert_array_equal(run(session, x=zeros)[1], constants()["bias"])
    # A run in which nothing was chosen, such as a text without a mask token.
    assert run(session, x=zeros[:0]).shape == (0, WIDTH)


def test_weights_of_seven_bits_cannot_overflow_sixteen() -> None:
    rounded = model(LAYER)
    int8.quantize(rounded, reduce_range=True)
    weight = rounded.graph.initializers["weight.int8"].const_value
    assert weight is not None
    assert np.abs(weight.numpy()).max() == 63


def test_rounded_weights_are_computed_when_they_are_written() -> None:
    rounded = model(LAYER)
    int8.quantize(rounded)
    assert isinstance(rounded.graph.initializers["weight.int8"].const_value, ir.LazyTensor)
    assert "weight" not in rounded.graph.initializers


def test_ranges_are_those_of_every_run(tmp_path: Path) -> None:
    session = served(ranges.tap(model(PROJECTIONS)), tmp_path)
    runs = [tokens(2, 3), tokens(1, 7) * 2]
    known = ranges.join(session.output_names, [session.run({"x": x}) for x in runs])
    every = np.concatenate([x.reshape(-1, SIZE) for x in runs])
    assert set(known) == {"x"}
    np.testing.assert_array_equal(known["x"].low, every.min(axis=0))
    np.testing.assert_array_equal(known["x"].high, every.max(axis=0))


def outlying() -> Mapping[str, Floats]:
    """A gain that lets one channel reach far beyond the others, and small weights behind it."""
    named = constants()
    gain, weight = named["gain"].copy(), named["weight"].copy()
    gain[7] *= 40 / np.abs(gain[7])
    weight[7] /= 20
    return {"gain": gain, "weight": weight}


def test_known_ranges_spare_other_channels_the_outlier(tmp_path: Path) -> None:
    x, special = tokens(), outlying()
    expected = run(served(model(MLP, **special), tmp_path), x=x)
    blind, seeing = model(MLP, **special), model(MLP, **special)
    known = measured(MLP, tmp_path, x, **special)
    assert int8.quantize(blind) == int8.quantize(seeing, ranges=known) == ("weight", "back")
    loss = relative(run(served(blind, tmp_path), x=x), expected)
    assert relative(run(served(seeing, tmp_path), x=x), expected) < 0.5 * loss


def test_fixed_scales_take_one_operator_with_the_bias_inside(tmp_path: Path) -> None:
    x = tokens()
    rounded = model(MLP)
    int8.quantize(rounded, ranges=measured(MLP, tmp_path, x), fixed=True)
    # What is left is the scale of each token behind GELU.
    assert operators(rounded)["ReduceMax"] == 1
    assert operators(rounded)["Add"] == 0
    expected = run(served(model(MLP), tmp_path, "float.onnx"), x=x)
    assert relative(run(served(rounded, tmp_path), x=x), expected) < 0.03


def test_behind_gelu_the_steps_are_spent_above_zero(tmp_path: Path) -> None:
    active = model(
        """
        model (float[rows, 64] x) => (float[rows, 48] y)
        { active = Gelu (x)  y = MatMul (active, weight) }
        """
    )
    x = 3 * np.random.default_rng(1).normal(size=(20, SIZE)).astype(np.float32)
    session = served(active, tmp_path, "float.onnx")
    expected = run(session, x=x)
    int8.quantize(active)
    assert operators(active)["ReduceMin"] == 0
    found = run(served(active, tmp_path), x=x)
    named = constants()
    gelu = x * np.vectorize(lambda value: 0.5 * (1 + np.tanh(0.79788456 * value)))(x)
    # Around 0 the same steps would reach as far below, where GELU never goes.
    symmetric = relative(by_token(gelu.astype(np.float32), named["weight"]), gelu @ named["weight"])
    assert relative(found, expected) < 0.8 * symmetric


def test_an_operator_that_the_newer_opset_changed_is_refused() -> None:
    with pytest.raises(ConversionFailed, match="GroupNormalization of opset 20"):
        int8.quantize(model(GROUPS))
