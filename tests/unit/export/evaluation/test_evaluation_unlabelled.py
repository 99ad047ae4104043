"""Agreement and loss on a session that answers with what it is fed."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.errors import ParityBroken
from export.evaluation import unlabelled
from export.proof.case import Case
from server.repository.manifest import Labels, Quality
from server.runtime.session import Session, SessionConfig

Values = NDArray[np.float32]
Echo = Callable[..., Session]


@pytest.fixture
def echo(tmp_path: Path) -> Echo:
    """Open sessions whose outputs are their inputs."""

    def build(**ranks: int) -> Session:
        inputs, outputs, nodes = [], [], []
        for name, rank in ranks.items():
            shape = [None] * rank
            inputs.append(helper.make_tensor_value_info(f"{name}_in", TensorProto.FLOAT, shape))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
            nodes.append(helper.make_node("Identity", [f"{name}_in"], [name]))
        graph = helper.make_graph(nodes, "echo", inputs, outputs)
        opsets = [helper.make_opsetid("", 20)]
        onnx.save(
            helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "e.onnx"
        )
        return Session(tmp_path / "e.onnx", SessionConfig())

    return build


def case(expected: Mapping[str, Values], found: Mapping[str, Values]) -> Case:
    return Case("text", {f"{name}_in": values for name, values in found.items()}, expected)


def noise(*shape: int, seed: int = 1) -> Values:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def measured(found: tuple[Quality, ...]) -> dict[str, tuple[float, int]]:
    return {quality.measure: (quality.bundle, quality.count) for quality in found}


def test_pixels_are_decided_by_their_own_names(echo: Echo) -> None:
    session = echo(logits=4)
    before = noise(3, 1, 5, 4, 4)
    after = before.copy()
    # The first name wins in one corner of one image.
    after[0, 0, 0, 0, 0] = before.max() + 1
    before[0, 0, 0, 0, 0] = before.min() - 1
    samples = [case({"logits": a}, {"logits": b}) for a, b in zip(before, after, strict=True)]
    found = measured(unlabelled.agreement(samples, session))
    assert found["same decision"] == pytest.approx((47 / 48, 48))


def test_labels_of_many_are_decided_one_by_one(echo: Echo) -> None:
    session = echo(logits=2)
    before = np.array([[[2, -1, 1]], [[-2, 3, -3]]], np.float32)
    after = before.copy()
    after[0, 0, 2] = -0.5
    samples = [case({"logits": a}, {"logits": b}) for a, b in zip(before, after, strict=True)]
    labels = Labels(("a", "b", "c"), "multi")
    found = measured(unlabelled.agreement(samples, session, labels))
    assert found["same decision"] == pytest.approx((5 / 6, 6))
    # By the likeliest class nothing changes.
    assert measured(unlabelled.agreement(samples, session))["same decision"] == pytest.approx(
        (1, 2)
    )


def test_tensors_without_a_decision_agree_by_their_direction(echo: Echo) -> None:
    session = echo(last_hidden_state=3)
    before = noise(4, 1, 6, 8)
    samples = [case({"last_hidden_state": a}, {"last_hidden_state": 2 * a}) for a in before]
    samples[2] = case({"last_hidden_state": before[2]}, {"last_hidden_state": -before[2]})
    found = measured(unlabelled.agreement(samples, session))
    assert found["mean cosine of last_hidden_state"] == pytest.approx((0.5, 4))
    assert found["worst cosine of last_hidden_state"] == pytest.approx((-1, 4))
    assert unlabelled.loss(samples, session) == pytest.approx(0.5)


def test_single_scores_are_compared_over_all_texts(echo: Echo) -> None:
    session = echo(logits=2)
    before = np.array([1, 2, 3, 4], np.float32)
    after = np.array([1, 3, 2, 4], np.float32)
    samples = [
        case({"logits": a.reshape(1, 1)}, {"logits": b.reshape(1, 1)})
        for a, b in zip(before, after, strict=True)
    ]
    found = measured(unlabelled.agreement(samples, session))
    assert found["rank correlation of logits"] == pytest.approx((0.8, 4))
    cosine = before @ after / (np.linalg.norm(before) * np.linalg.norm(after))
    assert unlabelled.loss(samples, session) == pytest.approx(1 - cosine, abs=1e-6)


def test_outputs_of_one_answer_count_as_one_vector_of_the_loss(echo: Echo) -> None:
    session = echo(start_logits=2, end_logits=2)
    zeros, ones = np.zeros((1, 4), np.float32), np.ones((1, 4), np.float32)
    right = {"start_logits": ones, "end_logits": ones}
    half = case(right, {"start_logits": ones, "end_logits": zeros})
    assert unlabelled.loss([half], session) == pytest.approx(1 - np.sqrt(0.5))
    assert unlabelled.loss([half, case(right, right)], session) == pytest.approx(
        (1 - np.sqrt(0.5)) / 2
    )


def test_sparse_vectors_of_nothing_agree(echo: Echo) -> None:
    session = echo(sparse_embedding=2)
    rows = np.abs(noise(3, 1, 6))
    rows[1] = 0
    samples = [case({"sparse_embedding": row}, {"sparse_embedding": row}) for row in rows]
    assert unlabelled.loss(samples, session) == pytest.approx(0)
    assert measured(unlabelled.agreement(samples, session))["worst cosine"][0] == pytest.approx(1)


def test_answers_that_are_no_numbers_cost_everything_and_stop_the_comparison(echo: Echo) -> None:
    session = echo(logits=2)
    row = noise(1, 3)
    broken = row.copy()
    broken[0, 1] = np.inf
    samples = [case({"logits": row}, {"logits": row}), case({"logits": row}, {"logits": broken})]
    assert unlabelled.loss(samples, session) == np.inf
    with pytest.raises(ParityBroken, match="the bundle answers NaN or infinity to built-in text 2"):
        unlabelled.agreement(samples, session)


def test_there_is_no_loss_of_nothing(echo: Echo) -> None:
    session = echo(logits=2)
    with pytest.raises(ValueError, match="no samples"):
        unlabelled.loss((), session)
    assert unlabelled.agreement((), session) == ()
