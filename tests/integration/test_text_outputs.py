"""Text bundles of every task: whatever a caller packs, the answer is that of the graph alone."""

import json
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensors
from bundles import HIDDEN, MASK_ID, POISON_ID, TAGS, VOCABULARY
from loopback import Target
from numpy.typing import NDArray

from protos import inference_pb2 as pb
from protos.heed.v1 import text_pb2

MODELS = ("topics", "tagger", "reader", "filler")
TOLERANCE = 1e-5
"""FP32 sums of eight values in another order."""

SEGMENTS = {
    "one sequence": [[1, 1, 1, 1]],
    "padded on both sides": [[0, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 1]],
    "packed": [[1, 1, 2, 3, 3, 3, 0], [1, 2, 2, 2, 2, 0, 0]],
    "alternating": [[2, 1, 2, 1, 0, 1], [0, 3, 1, 3, 1, 3]],
}


def feeds(model: str, segments: list[list[int]], seed: int = 0) -> dict[str, NDArray[Any]]:
    """Draw ids and positions for rows; every other token of the fill-mask model is a mask."""
    random = np.random.default_rng(seed)
    segment_ids = np.array(segments, np.int64)
    input_ids = random.integers(5, 60, segment_ids.shape)
    if model == "filler":
        masked = (random.random(segment_ids.shape) < 0.5) & (segment_ids > 0)
        input_ids[masked] = MASK_ID
    arrays = {
        "input_ids": input_ids,
        "segment_ids": segment_ids,
        "position_ids": random.integers(0, 32, segment_ids.shape),
    }
    if model == "reader":
        arrays["token_type_ids"] = random.integers(0, 2, segment_ids.shape)
    return arrays


def expected(bundle: Path, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return what the graph says about the rows as they are, with zeros at padding."""
    answers = tensors.direct(bundle, arrays)
    shape = arrays["segment_ids"].shape
    return {
        name: np.where(
            (arrays["segment_ids"] > 0).reshape(*shape, *[1] * (array.ndim - 2)), array, 0
        )
        if array.shape[:2] == shape
        else array
        for name, array in answers.items()
    }


def require_equal(found: dict[str, NDArray[Any]], wanted: dict[str, NDArray[Any]]) -> None:
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].shape == array.shape
        np.testing.assert_allclose(found[name], array, atol=TOLERANCE)


def infer(target: Target, message: pb.ModelInferRequest) -> dict[str, NDArray[Any]]:
    with target.inference() as stub:
        return tensors.answer(stub.ModelInfer(message, timeout=30))


def refused(target: Target, message: pb.ModelInferRequest) -> str:
    with target.inference() as stub, pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(message, timeout=30)
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return str(caught.value.details())


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("segments", SEGMENTS.values(), ids=SEGMENTS)
def test_answer_is_that_of_the_graph_alone(
    text_target: Target, text_kinds: Path, model: str, segments: list[list[int]]
) -> None:
    arrays = feeds(model, segments)

    found = infer(text_target, tensors.request(model, arrays))

    require_equal(found, expected(text_kinds / model / "1", arrays))


@pytest.mark.parametrize("model", MODELS)
def test_callers_that_share_runs_get_their_own_answers(
    text_target: Target, text_kinds: Path, model: str
) -> None:
    drawn = [feeds(model, segments, seed) for seed in range(6) for segments in SEGMENTS.values()]

    with text_target.inference() as stub:
        calls = [tensors.start(stub, model, arrays) for arrays in drawn]
        found = [tensors.answer(call.result()) for call in calls]

    for arrays, answer in zip(drawn, found, strict=True):
        require_equal(answer, expected(text_kinds / model / "1", arrays))


@pytest.mark.parametrize("names", [["states"], ["states", "logits"], ["logits", "logits"]])
def test_outputs_come_as_asked_for(text_target: Target, names: list[str]) -> None:
    message = tensors.request("topics", feeds("topics", [[1, 1, 2]]), names)

    assert list(infer(text_target, message)) == list(dict.fromkeys(names))


def test_text_without_a_mask_token_has_no_answers(text_target: Target) -> None:
    arrays = feeds("filler", [[1, 1, 1]]) | {"input_ids": np.array([[5, 6, 7]])}

    assert infer(text_target, tensors.request("filler", arrays))["logits"].shape == (0, VOCABULARY)


def test_mask_tokens_at_padding_are_no_tokens(text_target: Target) -> None:
    arrays = feeds("filler", [[1, 0, 0]]) | {"input_ids": np.full((1, 3), MASK_ID)}

    assert infer(text_target, tensors.request("filler", arrays))["logits"].shape == (1, VOCABULARY)


def test_answer_that_no_message_could_hold_is_refused(text_target: Target) -> None:
    length = 1100
    arrays = feeds("filler", [[1 + place // 10 for place in range(length)]] * 16)
    arrays["input_ids"][:] = MASK_ID

    assert "split the call" in refused(text_target, tensors.request("filler", arrays))


def without_types() -> dict[str, NDArray[Any]]:
    arrays = feeds("reader", [[1, 1]])
    del arrays["token_type_ids"]
    return arrays


@pytest.mark.parametrize(
    ("arrays", "hint"),
    [
        (without_types(), "'token_type_ids' is missing"),
        (
            feeds("reader", [[1, 1]]) | {"token_type_ids": np.array([[0, 2]])},
            "'token_type_ids' holds 2 at [0, 1]; it must lie in 0 to 1",
        ),
        (
            feeds("reader", [[1, 1]]) | {"token_type_ids": np.array([[0], [0]])},
            "same rows and length",
        ),
    ],
)
def test_bad_token_types_say_what_to_change(
    text_target: Target, arrays: dict[str, NDArray[Any]], hint: str
) -> None:
    assert hint in refused(text_target, tensors.request("reader", arrays))


@pytest.mark.parametrize("model", MODELS)
def test_poisonous_sequence_fails_alone(text_target: Target, model: str) -> None:
    drawn = [feeds(model, [[1, 1, 2]], seed) for seed in range(5)]
    drawn[2]["input_ids"][0, 1] = POISON_ID

    with text_target.inference() as stub:
        codes = [
            tensors.code(call) for call in [tensors.start(stub, model, arrays) for arrays in drawn]
        ]

    assert codes == ["OK", "OK", "INTERNAL", "OK", "OK"]


@pytest.mark.parametrize("model", MODELS)
def test_embed_says_what_the_model_is_for(text_target: Target, model: str) -> None:
    with text_target.text() as stub, pytest.raises(grpc.RpcError) as caught:
        stub.Embed(text_pb2.EmbedRequest(model=model, texts=["word1"]), timeout=30)

    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "ModelInfer" in str(caught.value.details())


def test_tokenize_works_for_every_text_task(text_target: Target) -> None:
    with text_target.text() as stub:
        answer = stub.Tokenize(
            text_pb2.TokenizeRequest(model="tagger", texts=["word1"]), timeout=30
        )

    assert [token.id for token in answer.texts[0].tokens] == [2, 5, 3]


def test_config_says_what_the_numbers_mean(text_target: Target) -> None:
    with text_target.inference() as stub:
        configs = {
            model: stub.ModelConfig(pb.ModelConfigRequest(name=model)).config for model in MODELS
        }
        reader = stub.ModelMetadata(pb.ModelMetadataRequest(name="reader"))

    facts = {
        model: {name: value.string_value for name, value in config.parameters.items()}
        for model, config in configs.items()
    }
    assert [one.name for one in reader.inputs][-1] == "token_type_ids"
    assert [list(one.shape) for one in reader.outputs] == [[-1, -1], [-1, -1]]
    assert [list(one.dims) for one in configs["topics"].output] == [[HIDDEN], [-1, HIDDEN]]
    assert json.loads(facts["tagger"]["labels"]) == list(TAGS)
    assert facts["tagger"]["label_kind"] == "single"
    assert json.loads(facts["topics"]["label_thresholds"]) == [0.5] * HIDDEN
    assert facts["topics"]["per.states"] == "token"
    assert facts["filler"]["mask_id"] == str(MASK_ID)
    assert "labels" not in facts["filler"]
