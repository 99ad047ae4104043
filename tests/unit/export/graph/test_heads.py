"""Heads on a graph that is nothing but its inputs, against the same sums in NumPy."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from export.graph.heads import MIN_NORM, Head, add_sentence_embedding
from server.runtime.session import Session, SessionConfig

DIMENSIONS = 5
TOLERANCE = 1e-6  # FP32 sums of a few numbers in another order.

SEGMENTS = {
    "padded": [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]],
    "left-padded": [[0, 0, 1, 1, 1], [0, 1, 1, 1, 1]],
    "packed": [[1, 1, 2, 3, 3], [1, 2, 2, 0, 0]],
    "packed with a hole": [[1, 1, 0, 3, 3], [0, 2, 2, 2, 0]],
    "one token": [[1]],
    "only padding in a row": [[0, 0], [1, 1]],
}


def tokens_model() -> ir.Model:
    """A graph whose token states are an input."""
    states = ir.val("states", ir.DataType.FLOAT, ["rows", "length", DIMENSIONS])
    segment_ids = ir.val("segment_ids", ir.DataType.INT64, ["rows", "length"])
    identity = ir.node("Identity", [states])
    (output,) = identity.outputs
    output.name, output.shape = "last_hidden_state", states.shape
    output.dtype = ir.DataType.FLOAT
    graph = ir.Graph(
        [states, segment_ids], [output], nodes=[identity], opset_imports={"": 20}, name="tokens"
    )
    return ir.Model(graph, ir_version=10)


def expected(
    states: NDArray[np.float32], ids: NDArray[np.int64], head: Head
) -> NDArray[np.float32]:
    vectors = []
    for row, numbers in enumerate(ids):
        for segment in range(1, ids.max() + 1):
            tokens = states[row][numbers == segment]
            if len(tokens):
                vectors.append(tokens.mean(axis=0) if head.mode == "mean" else tokens[0])
    stacked = np.array(vectors, np.float32).reshape(-1, DIMENSIONS)
    if head.normalize:
        stacked /= np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), MIN_NORM)
    return stacked


def run(
    directory: Path, head: Head, states: NDArray[np.float32], segments: list[list[int]]
) -> NDArray[np.generic]:
    model = tokens_model()
    add_sentence_embedding(model, head)
    ir.save(model, directory / "model.onnx")
    session = Session(directory / "model.onnx", SessionConfig())
    (found,) = session.run({"states": states, "segment_ids": np.array(segments, np.int64)})
    return found


@pytest.mark.parametrize("name", SEGMENTS)
@pytest.mark.parametrize(
    "head",
    [
        Head("mean", normalize=False, dimensions=DIMENSIONS),
        Head("mean", normalize=True, dimensions=DIMENSIONS),
        Head("cls", normalize=False, dimensions=DIMENSIONS),
        Head("cls", normalize=True, dimensions=DIMENSIONS),
    ],
    ids=["mean", "mean normalised", "cls", "cls normalised"],
)
def test_each_segment_with_a_token_gives_one_vector_in_row_order(
    tmp_path: Path, head: Head, name: str
) -> None:
    segments = SEGMENTS[name]
    ids = np.array(segments, np.int64)
    states = np.random.default_rng(3).normal(size=(*ids.shape, DIMENSIONS)).astype(np.float32)
    found = run(tmp_path, head, states, segments)
    wanted = expected(states, ids, head)
    assert found.shape == wanted.shape
    assert np.abs(np.subtract(found, wanted)).max() <= TOLERANCE


def test_a_batch_of_padding_alone_gives_no_vectors(tmp_path: Path) -> None:
    states = np.ones((2, 3, DIMENSIONS), np.float32)
    head = Head("mean", normalize=True, dimensions=DIMENSIONS)
    found = run(tmp_path, head, states, [[0, 0, 0], [0, 0, 0]])
    assert found.shape == (0, DIMENSIONS)


def test_a_vector_of_zeros_stays_zero_when_normalised(tmp_path: Path) -> None:
    states = np.zeros((1, 2, DIMENSIONS), np.float32)
    found = run(tmp_path, Head("mean", normalize=True, dimensions=DIMENSIONS), states, [[1, 1]])
    np.testing.assert_array_equal(found, np.zeros((1, DIMENSIONS), np.float32))


def test_the_output_is_named_and_flat() -> None:
    model = tokens_model()
    add_sentence_embedding(model, Head("mean", normalize=True, dimensions=DIMENSIONS))
    (output,) = model.graph.outputs
    assert output.name == "sentence_embedding"
    assert output.dtype == ir.DataType.FLOAT
    assert str(output.shape) == f"[sequences,{DIMENSIONS}]"
