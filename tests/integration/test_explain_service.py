"""Explain over a real socket, on a bundle of one layer of two heads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bundles
import grpc
import numpy as np
import pytest
from edited import edited
from loopback import Target, serve
from numpy.typing import NDArray
from waiting import until

from protos.heed.v1 import text_pb2 as pb
from server.repository.bundle import open_bundle
from server.repository.manifest import Explain, TensorSpec

ROUNDING = 1e-5
TEXT = "word1 word2 word3"
LONG = " ".join(f"word{number}" for number in range(40))
MAX_TEXTS = 16
MAX_BYTES = 192 * 1024
"""Room for one map of the longest texts each, and not for two."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    root = tmp_path_factory.mktemp("models")
    bundle = open_bundle(bundles.build_explained(root))
    bundles.build_encoder(root)
    many_heads = TensorSpec("attentions", "FP32", (1, -1, 1 << 20, -1, -1))
    edited(bundle, root, name="wide", explain=Explain("explain.onnx", (many_heads,)))
    sound = open_bundle(bundles.build_explained(tmp_path_factory.mktemp("sound"), "broken"))
    (sound.path / "explain.onnx").write_bytes(b"no graph")
    edited(sound, root)
    options = ["--max-request-sequences", str(MAX_TEXTS), "--max-message-bytes", str(MAX_BYTES)]
    with serve(root, *options) as running:
        yield running


def request_of(*texts: str, **options: Any) -> pb.ExplainRequest:
    inputs = [pb.Input(text=text) for text in texts]
    return pb.ExplainRequest(**{"model": "explained", "inputs": inputs, **options})


def explain(target: Target, *texts: str, **options: Any) -> pb.ExplainResponse:
    with target.text() as stub:
        answer: pb.ExplainResponse = stub.Explain(request_of(*texts, **options), timeout=30)
    return answer


def refused(target: Target, request: pb.ExplainRequest, timeout_s: float = 30) -> grpc.Call:
    with target.text() as stub, pytest.raises(grpc.RpcError) as caught:
        stub.Explain(request, timeout=timeout_s)
    assert isinstance(caught.value, grpc.Call)
    return caught.value


def weights(one: pb.AttentionMap) -> NDArray[np.float32]:
    values = np.array(one.weights, np.float32)
    size = round(len(values) ** 0.5)
    return values.reshape(size, size)


def heads_of(answer: pb.ExplainResponse) -> list[NDArray[np.float32]]:
    return [weights(one) for one in answer.explanations[0].maps]


@pytest.mark.parametrize("method", pb.ExplainMethod.values())
def test_rows_and_columns_are_tokens_and_rows_sum_to_one(
    target: Target, method: pb.ExplainMethod
) -> None:
    answer = explain(target, TEXT, "word4", method=method)

    for one, size in zip(answer.explanations, (5, 3), strict=True):
        assert len(one.tokens) == size
        for each in one.maps:
            assert weights(each).shape == (size, size)
            np.testing.assert_allclose(weights(each).sum(axis=1), 1.0, atol=ROUNDING)


def test_tokens_are_those_of_tokenize(target: Target) -> None:
    with target.text() as stub:
        request = pb.TokenizeRequest(model="explained", texts=[TEXT])
        expected = stub.Tokenize(request, timeout=30).texts[0].tokens

    assert explain(target, TEXT).explanations[0].tokens == expected


def test_each_layer_and_head_has_a_map(target: Target) -> None:
    maps = explain(target, TEXT, method=pb.EXPLAIN_METHOD_LAYERS_HEADS).explanations[0].maps

    assert [(one.layer, one.head) for one in maps] == [(0, 0), (0, 1)]
    assert all(one.HasField("layer") and one.HasField("head") for one in maps)
    assert not np.allclose(weights(maps[0]), weights(maps[1]))


def test_mean_and_rollout_follow_from_the_heads(target: Target) -> None:
    first, second = heads_of(explain(target, TEXT, method=pb.EXPLAIN_METHOD_LAYERS_HEADS))
    mean, rollout = (
        explain(target, TEXT, method=method).explanations[0].maps
        for method in (pb.EXPLAIN_METHOD_MEAN, pb.EXPLAIN_METHOD_ROLLOUT)
    )

    expected = (first + second) / 2
    np.testing.assert_allclose(weights(mean[0]), expected, atol=ROUNDING)
    np.testing.assert_allclose(weights(rollout[0]), (expected + np.eye(5)) / 2, atol=ROUNDING)
    assert not any(one.HasField("layer") or one.HasField("head") for one in (*mean, *rollout))


def test_one_head_can_be_chosen(target: Target) -> None:
    both = heads_of(explain(target, TEXT, method=pb.EXPLAIN_METHOD_LAYERS_HEADS))

    answer = explain(target, TEXT, method=pb.EXPLAIN_METHOD_LAYERS_HEADS, layers=[0], heads=[1])

    assert [one.head for one in answer.explanations[0].maps] == [1]
    np.testing.assert_array_equal(heads_of(answer)[0], both[1])


def test_a_pair_is_read_with_its_token_types(target: Target) -> None:
    pair = pb.ExplainRequest(model="explained", inputs=[pb.Input(text="word1", pair="word2")])
    with target.text() as stub:
        paired = stub.Explain(pair, timeout=30).explanations[0]
    (alone,) = explain(target, "word1 word2").explanations

    assert {token.type_id for token in paired.tokens} == {0, 1}
    assert [token.piece for token in paired.tokens if token.is_pair] == ["word2"]
    assert len(weights(paired.maps[0])) == len(paired.tokens)
    assert list(paired.maps[0].weights) != list(alone.maps[0].weights)


def test_a_text_that_is_too_long_is_cut_when_asked(target: Target) -> None:
    answer = explain(target, LONG, truncation=pb.TRUNCATION_KEEP_START).explanations[0]

    assert answer.truncated
    assert len(answer.tokens) == bundles.MAX_TOKENS
    assert len(weights(answer.maps[0])) == bundles.MAX_TOKENS


def test_answer_says_whose_it_is_and_where_the_time_went(target: Target) -> None:
    answer = explain(target, TEXT, "slow", id="call-7")
    timings = answer.timings

    assert (answer.model, answer.version, answer.id) == ("explained", "1", "call-7")
    assert timings.run_ns > 0
    assert timings.tokenize_ns + timings.queue_ns + timings.run_ns <= timings.total_ns


@pytest.mark.parametrize(
    ("request_", "hint"),
    [
        (request_of(TEXT, model="tiny"), "heed-export --explain"),
        (request_of(), "at least one"),
        (request_of(*["word1"] * (MAX_TEXTS + 1)), "split"),
        (request_of("word1", LONG), r"inputs[1] has 42 tokens"),
        (request_of("word1", "word2 " * 15, model="wide"), "at most 16 are computed"),
        (request_of(TEXT, layers=[1]), "layers names 1; it must lie in 0 to 0"),
        (request_of(TEXT, heads=[2]), "heads names 2; it must lie in 0 to 1"),
        (request_of(TEXT, heads=[1, 1]), "name each once"),
        (request_of(TEXT, priority=4), "1 to 3"),
        (request_of(TEXT, method=9), "method 9 is unknown; use 0 to 3"),
    ],
)
def test_bad_call_says_what_to_change(
    target: Target, request_: pb.ExplainRequest, hint: str
) -> None:
    error = refused(target, request_)

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert hint in str(error.details())


def test_an_answer_that_no_message_holds_is_refused_before_it_is_run(target: Target) -> None:
    texts = ["poison " * 30] * MAX_TEXTS

    error = refused(target, request_of(*texts, method=pb.EXPLAIN_METHOD_LAYERS_HEADS))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "fewer layers and heads" in str(error.details())


def test_the_largest_answer_that_is_let_through_fits(target: Target) -> None:
    texts = [LONG] * MAX_TEXTS

    answer = explain(target, *texts, truncation=pb.TRUNCATION_KEEP_START)

    assert len(answer.explanations) == MAX_TEXTS
    assert answer.ByteSize() > MAX_BYTES / 3


def test_a_run_that_fails_fails_alone(target: Target) -> None:
    with target.text() as stub:
        calls = [
            stub.Explain.future(request_of(text), timeout=30) for text in ("word1", "poison", TEXT)
        ]
        codes = [call.code().name for call in calls]

    assert codes == ["OK", "INTERNAL", "OK"]


def test_a_graph_that_cannot_be_opened_harms_no_other_call(target: Target) -> None:
    error = refused(target, request_of(TEXT, model="broken"))
    with target.text() as stub:
        embedded = stub.Embed(pb.EmbedRequest(model="broken", texts=[TEXT]), timeout=30)

    assert error.code() is grpc.StatusCode.INTERNAL
    assert "explain.onnx" in str(error.details())
    assert embedded.embeddings


def test_one_more_than_may_wait_is_refused(target: Target) -> None:
    with target.text() as stub:
        calls = [stub.Explain.future(request_of("slow " * 6), timeout=60) for _ in range(14)]
        codes = [call.code().name for call in calls]

    assert codes.count("RESOURCE_EXHAUSTED") >= 1
    assert codes.count("OK") >= 9
    assert set(codes) == {"OK", "RESOURCE_EXHAUSTED"}


def test_embedding_goes_on_beside_explanations(target: Target) -> None:
    with target.text() as stub:
        explaining = stub.Explain.future(request_of(*["slow " * 25] * 4), timeout=60)
        request = pb.EmbedRequest(model="explained", texts=["word1"])
        embedded = stub.Embed(request, timeout=30).embeddings
        is_first = not explaining.done()
        explaining.cancel()

    assert len(embedded) == 1
    assert is_first


def test_nobody_computes_for_a_caller_that_left(target: Target) -> None:
    """Sixteen texts of some tenths of a second: the next caller would wait behind them."""
    with target.text() as stub:
        leaving = stub.Explain.future(request_of(*["slow " * 30] * MAX_TEXTS), timeout=60)
        until(lambda: target.metric("heed_inflight_requests") == 1)
        leaving.cancel()
        until(lambda: target.metric("heed_inflight_requests") == 0)

        assert stub.Explain(request_of("word1"), timeout=10).explanations


def test_a_deadline_ends_an_explanation_under_way(target: Target) -> None:
    error = refused(target, request_of(*["slow " * 30] * 8), timeout_s=0.3)

    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert explain(target, TEXT).explanations


def test_a_server_drains_with_an_explaining_session_open(tmp_path: Path) -> None:
    bundles.build_explained(tmp_path / "models")
    with serve(tmp_path / "models") as running:
        assert explain(running, TEXT).explanations
        assert running.stop() == 0
