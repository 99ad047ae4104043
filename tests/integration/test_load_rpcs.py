"""Every kind of request that the load harness builds, sent to a real server and read again."""

from collections.abc import Iterator
from typing import Any, get_args

import bundles
import grpc
import numpy as np
import pytest
from loopback import Target, serve

from loadtest.record.row import MISSING, WRONG_ANSWER
from loadtest.scenario.lengths import Fixed, Uniform
from loadtest.scenario.requests import Request, Rpc, Tensor
from loadtest.scenario.schema import Arrival, Offline, Replay
from loadtest.workload.answers import read
from loadtest.workload.build import payloads
from loadtest.workload.methods import METADATA
from loadtest.workload.payload import Outcome, Payload
from protos import inference_pb2
from protos.heed.v1 import text_pb2

MODELS: dict[Rpc, str] = {
    "embed": "tiny",
    "rerank": "ranker",
    "similarity": "tiny",
    "classify": "judge",
    "token-classify": "tagger",
    "answer-question": "reader",
    "fill-mask": "filler",
    "tokenize": "tiny",
    "detokenize": "tiny",
    "explain": "explained",
    "embed-stream": "tiny",
    "rerank-stream": "ranker",
    "classify-stream": "judge",
    "infer": "tiny",
    "infer-stream": "tiny",
}
WITHOUT_TOKENS = {"detokenize", "infer", "infer-stream"}
# Ids of the tiny vocabulary, short of the words that make its graphs misbehave.
TINY = {"input_ids": Tensor(high=bundles.SLOW_ID)}
LENGTHS = Uniform(min=3, max=12)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    root = tmp_path_factory.mktemp("models")
    bundles.build_encoder(root)
    bundles.build_ranker(root)
    bundles.build_judge(root)
    bundles.build_tagger(root)
    bundles.build_reader(root)
    bundles.build_filler(root)
    bundles.build_explained(root)
    bundles.build_sparse(root)
    bundles.build_late(root)
    bundles.build_topics(root)
    bundles.build_rows(root)
    with serve(root) as running:
        yield running


class Client:
    """Bytes in, bytes out, as the sender does it."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def ask(self, method: str, request: bytes) -> bytes:
        call: Any = self._channel.unary_unary(method)
        answer: bytes = call(request, timeout=30)
        return answer

    def inspect(self, model: str) -> inference_pb2.ModelMetadataResponse:
        request = inference_pb2.ModelMetadataRequest(name=model).SerializeToString()
        return inference_pb2.ModelMetadataResponse.FromString(self.ask(METADATA, request))

    def send(self, payload: Payload) -> tuple[list[bytes], list[tuple[str, str]]]:
        """Return the messages of the answer, and its trailing metadata."""
        if payload.kind == "stream":
            stream: Any = self._channel.stream_stream(payload.method)
            call = stream(iter(payload.messages), timeout=30)
            messages = list(call)
        else:
            unary: Any = self._channel.unary_unary(payload.method)
            answer, call = unary.with_call(payload.messages[0], timeout=30)
            messages = [answer]
        return messages, [(str(key), str(value)) for key, value in call.trailing_metadata()]


@pytest.fixture(scope="module")
def client(target: Target) -> Iterator[Client]:
    with target.channel() as channel:
        yield Client(channel)


def build(client: Client, *requests: Request, calls: int = 8) -> list[Payload]:
    scenario = Offline(calls=calls, requests=requests)
    return payloads(scenario, "", client.inspect, client.ask)


def outcomes(client: Client, *requests: Request) -> list[Outcome]:
    return [read(one, *client.send(one)) for one in build(client, *requests)]


def request_of(rpc: Rpc, texts: int = 3, **fields: Any) -> Request:
    tensors = TINY if rpc.startswith("infer") else {}
    defaults: dict[str, Any] = {"model": MODELS[rpc], "tensors": tensors, "lengths": LENGTHS}
    return Request(rpc=rpc, texts_per_call=texts, **(defaults | fields))


@pytest.mark.parametrize("rpc", get_args(Rpc))
@pytest.mark.parametrize("texts", [1, 3])
def test_every_kind_of_request_is_answered(client: Client, rpc: Rpc, texts: int) -> None:
    for found in outcomes(client, request_of(rpc, texts)):
        assert found.code == 0
        assert (found.tokens > 0) == (rpc not in WITHOUT_TOKENS)
        if rpc == "infer-stream":
            assert found == Outcome(0)
            continue
        assert found.total_ns > 0
        assert min(found.tokenize_ns, found.queue_ns, found.run_ns) >= 0
        ran = rpc not in {"tokenize", "detokenize"}
        # Texts of one call may run in batches of their own, so their times overlap.
        assert (found.run_ns > 0) == ran
        assert (found.batch_sequences > 0) == ran
        assert (found.batch_tokens > 0) == ran


@pytest.mark.parametrize("rpc", get_args(Rpc))
def test_answers_to_fewer_texts_are_wrong(client: Client, rpc: Rpc) -> None:
    """The answer to a call of three texts is none to a call of four."""
    (three,) = build(client, request_of(rpc), calls=1)
    (four,) = build(client, request_of(rpc, texts=4), calls=1)

    messages, trailing = client.send(three)

    assert read(three, messages, trailing).code == 0
    assert read(four, messages, trailing).code == WRONG_ANSWER


@pytest.mark.parametrize("rpc", get_args(Rpc))
def test_cut_answers_are_wrong(client: Client, rpc: Rpc) -> None:
    (payload,) = build(client, request_of(rpc), calls=1)

    messages, trailing = client.send(payload)

    assert read(payload, [*messages[:-1], messages[-1][:-1]], trailing).code == WRONG_ANSWER
    assert read(payload, [*messages[:-1], b""], trailing).code == WRONG_ANSWER
    assert read(payload, messages[:-1], trailing).code == WRONG_ANSWER


@pytest.mark.parametrize("model", ["tiny", "sparse", "late"])
def test_embeddings_of_every_form_are_answers(client: Client, model: str) -> None:
    found = outcomes(client, request_of("embed", model=model))

    assert {one.code for one in found} == {0}


def test_rerank_by_vectors_is_answered(client: Client) -> None:
    assert {one.code for one in outcomes(client, request_of("rerank", model="tiny"))} == {0}


@pytest.mark.parametrize("model", ["tagger", "reader", "filler", "ranker", "late", "topics"])
def test_infer_is_answered_by_every_text_model(client: Client, model: str) -> None:
    """The filler answers a row for each mask, not for each row."""
    for rpc in ("infer", "infer-stream"):
        assert {one.code for one in outcomes(client, request_of(rpc, model=model))} == {0}


def test_infer_is_answered_by_a_model_of_whole_rows(client: Client) -> None:
    plain = Request(rpc="infer", model="pixels", texts_per_call=2, lengths=Fixed(tokens=5))

    for found in outcomes(client, plain):
        assert found.code == 0
        assert found.total_ns > 0


def test_a_missing_output_of_ours_is_wrong(client: Client) -> None:
    (payload,) = build(client, request_of("infer", model="late"), calls=1)
    (body,), trailing = client.send(payload)

    answer = inference_pb2.ModelInferResponse.FromString(body)
    del answer.outputs[1]
    del answer.raw_output_contents[1]

    assert read(payload, [answer.SerializeToString()], trailing).code == WRONG_ANSWER


def test_ids_of_the_usual_bounds_need_no_options(client: Client) -> None:
    """Real vocabularies hold them all; the tiny one refuses those that it lacks, by number."""
    (payload,) = build(client, request_of("infer", tensors={}, lengths=Fixed(tokens=30)), calls=1)

    with pytest.raises(grpc.RpcError, match="must lie in 0 to 63"):
        client.send(payload)


def test_tokens_are_those_of_the_drawn_lengths(client: Client) -> None:
    fixed = request_of("embed", lengths=Fixed(tokens=9))

    assert {one.tokens for one in outcomes(client, fixed)} == {27}


def test_a_replay_sends_what_was_recorded(client: Client) -> None:
    recorded = (Arrival(0, (5, 2, 9), "tiny"), Arrival(1, (3,), "late"))
    scenario = Replay(recorded=recorded, requests=(Request(),))

    sent = payloads(scenario, "", client.inspect, client.ask)

    answers = [client.send(one)[0][0] for one in sent]
    told = [text_pb2.EmbedResponse.FromString(one) for one in answers]
    assert [one.model for one in told] == ["tiny", "late"]
    assert [[each.num_tokens for each in one.embeddings] for one in told] == [[5, 2, 9], [3]]


def test_a_failure_in_a_stream_makes_the_call_wrong(client: Client) -> None:
    (payload,) = build(client, request_of("embed-stream", lengths=Fixed(tokens=33)), calls=1)

    assert read(payload, *client.send(payload)).code == WRONG_ANSWER


def test_an_error_in_a_stream_of_tensors_makes_the_call_wrong(client: Client) -> None:
    beyond = {"input_ids": Tensor(low=64, high=65)}
    (payload,) = build(client, request_of("infer-stream", tensors=beyond), calls=1)

    assert read(payload, *client.send(payload)).code == WRONG_ANSWER


def test_a_mix_reaches_every_model(client: Client) -> None:
    requests = [request_of(rpc) for rpc in get_args(Rpc)]

    sent = build(client, *requests, calls=60)

    assert {one.request for one in sent} == set(range(len(requests)))
    assert {read(one, *client.send(one)).code for one in sent} == {0}


def test_a_server_that_keeps_no_account_says_nothing(client: Client) -> None:
    (payload,) = build(client, request_of("infer"), calls=1)
    messages, _ = client.send(payload)

    found = read(payload, messages, ())

    assert (found.code, found.queue_ns, found.total_ns) == (0, MISSING, MISSING)


def test_positions_and_segments_are_as_the_bundle_wants_them(client: Client) -> None:
    (payload,) = build(client, request_of("infer", lengths=Uniform(min=3, max=30)), calls=1)

    sent = inference_pb2.ModelInferRequest.FromString(payload.messages[0])

    arrays = {
        one.name: np.frombuffer(raw, "<i8").reshape(tuple(one.shape))
        for one, raw in zip(sent.inputs, sent.raw_input_contents, strict=True)
    }
    assert set(np.unique(arrays["segment_ids"])) == {0, 1}
    assert (np.diff(arrays["segment_ids"], axis=1) <= 0).all()
    assert (np.diff(arrays["position_ids"], axis=1) == 1).all()
