from collections import Counter
from typing import Any, get_args

import pytest
from google.protobuf.message import Message

from loadtest.errors import RunFailed
from loadtest.scenario.lengths import Fixed, Uniform
from loadtest.scenario.requests import Request, Rpc, Tensor
from loadtest.scenario.schema import AnyScenario, Arrival, Closed, Offline, Replay
from loadtest.workload import build
from loadtest.workload.build import payloads
from loadtest.workload.payload import Payload
from loadtest.workload.texts import MAX_PAYLOADS, pool_of, words
from protos import inference_pb2
from protos.heed.v1 import text_pb2 as pb

LENGTHS = (5, 9, 7)
KNOWN_IDS = [7, 11, 13]


def metadata(model: str) -> inference_pb2.ModelMetadataResponse:
    tensor = inference_pb2.ModelMetadataResponse.TensorMetadata
    return inference_pb2.ModelMetadataResponse(
        name=model,
        inputs=[tensor(name="x", datatype="FP32", shape=[-1, 4])],
        outputs=[tensor(name="y", datatype="FP32", shape=[-1, 1])],
    )


def nobody(model: str) -> inference_pb2.ModelMetadataResponse:
    raise AssertionError(f"asked about {model}")


def answers(method: str, request: bytes) -> bytes:
    """Answer as a server whose model has the mask "<gap>" and three words would."""
    answer: Message
    match method.rpartition("/")[2]:
        case "ModelConfig":
            answer = inference_pb2.ModelConfigResponse()
            answer.config.parameters["mask_id"].string_value = "99"
        case "Detokenize":
            (sequence,) = pb.DetokenizeRequest.FromString(request).sequences
            assert list(sequence.ids) == [99]
            answer = pb.DetokenizeResponse(texts=["<gap>"])
        case "Tokenize":
            tokens = [pb.Token(id=one) for one in KNOWN_IDS]
            special = [pb.Token(id=1, special=True)]
            answer = pb.TokenizeResponse(
                texts=[pb.TokenizedText(tokens=[*special, *tokens, *special])]
            )
        case other:
            raise AssertionError(other)
    return answer.SerializeToString()


def closed(*requests: Request, seed: int = 1) -> Closed:
    return Closed(in_flight=1, seed=seed, requests=requests or (Request(),))


def replay(rpc: Rpc, *lengths: tuple[int, ...], model: str = "") -> Replay:
    recorded = tuple(Arrival(number, each, model) for number, each in enumerate(lengths))
    return Replay(recorded=recorded, requests=(Request(rpc=rpc),))


def built(scenario: AnyScenario, model: str = "m") -> list[Payload]:
    return payloads(scenario, model, metadata, answers)


def only(rpc: Rpc, lengths: tuple[int, ...] = LENGTHS) -> Payload:
    """Return the one body of a recording with one call."""
    (payload,) = built(replay(rpc, lengths))
    return payload


def sent(rpc: Rpc, message: type[Message], lengths: tuple[int, ...] = LENGTHS) -> Any:
    (body,) = only(rpc, lengths).messages
    return message.FromString(body)


def tokens(text: str) -> int:
    return len(text.split()) + 2


@pytest.mark.parametrize("rpc", get_args(Rpc))
def test_every_kind_of_request_is_built(rpc: Rpc) -> None:
    payload = only(rpc)

    is_stream = rpc.endswith("-stream")
    assert payload.method.startswith("/")
    assert payload.kind == ("stream" if is_stream else "unary")
    assert len(payload.messages) == (3 if is_stream else 1)
    assert payload.texts == 3


def test_embed_sends_texts_of_the_recorded_lengths() -> None:
    assert [tokens(text) for text in sent("embed", pb.EmbedRequest).texts] == list(LENGTHS)


def test_rerank_sends_a_query_beside_its_candidates() -> None:
    request = sent("rerank", pb.RerankRequest)

    assert [tokens(text) for text in request.texts] == list(LENGTHS)
    assert request.query
    assert request.query not in request.texts


def test_similarity_sends_pairs_of_equal_length() -> None:
    pairs = sent("similarity", pb.SimilarityRequest).pairs

    assert [tokens(pair.text) for pair in pairs] == list(LENGTHS)
    assert [tokens(pair.pair) for pair in pairs] == list(LENGTHS)
    assert all(pair.text != pair.pair for pair in pairs)


def test_answer_question_sends_contexts_of_the_recorded_lengths() -> None:
    request = sent("answer-question", pb.AnswerQuestionRequest)

    assert [tokens(text) for text in request.contexts] == list(LENGTHS)
    assert request.question


def test_fill_mask_writes_the_models_own_mask_once_in_each_text() -> None:
    texts = sent("fill-mask", pb.FillMaskRequest, (3, 9, 2)).texts

    assert [text.split().count("<gap>") for text in texts] == [1, 1, 1]
    # A text of two special tokens alone has no room for what is asked about.
    assert [tokens(text) for text in texts] == [3, 9, 3]


def test_detokenize_sends_ids_that_the_model_knows() -> None:
    sequences = sent("detokenize", pb.DetokenizeRequest).sequences

    assert [len(one.ids) for one in sequences] == list(LENGTHS)
    assert {number for one in sequences for number in one.ids} == set(KNOWN_IDS)


def test_explain_asks_for_one_map_each() -> None:
    request = sent("explain", pb.ExplainRequest)

    assert [tokens(one.text) for one in request.inputs] == list(LENGTHS)
    assert request.method == pb.EXPLAIN_METHOD_MEAN


def test_streams_send_one_text_a_message() -> None:
    bodies = only("classify-stream").messages

    requests = [pb.ClassifyRequest.FromString(body) for body in bodies]
    assert [[tokens(one.text) for one in request.inputs] for request in requests] == [[5], [9], [7]]


def test_fill_mask_needs_a_model_with_a_mask() -> None:
    def maskless(method: str, request: bytes) -> bytes:
        del method, request
        return b""

    with pytest.raises(RunFailed, match="m has no mask token"):
        payloads(replay("fill-mask", (5,)), "m", nobody, maskless)


def test_what_needs_an_answer_is_not_built_without_a_server() -> None:
    with pytest.raises(RunFailed, match="m must be asked for Tokenize"):
        payloads(replay("detokenize", (5,)), "m", nobody)


def test_nobody_is_asked_for_texts() -> None:
    assert payloads(closed(), "m", nobody)


def test_a_model_is_asked_about_once() -> None:
    asked: list[str] = []

    def inspect(model: str) -> inference_pb2.ModelMetadataResponse:
        asked.append(model)
        return metadata(model)

    def ask(method: str, request: bytes) -> bytes:
        asked.append(method.rpartition("/")[2])
        return answers(method, request)

    requests = [Request(rpc=rpc) for rpc in ("infer", "infer-stream", "fill-mask", "detokenize")]
    payloads(closed(*requests), "m", inspect, ask)

    assert Counter(asked) == {"m": 1, "ModelConfig": 1, "Detokenize": 1, "Tokenize": 1}


def test_bodies_are_seeded() -> None:
    mixed = (Request(texts_per_call=2), Request(rpc="infer"))

    assert built(closed(*mixed)) == built(closed(*mixed))
    assert built(closed(*mixed)) != built(closed(*mixed, seed=2))


def test_a_kind_draws_the_same_whatever_is_beside_it() -> None:
    alone = built(closed(Request(texts_per_call=2)))
    mixed = built(closed(Request(texts_per_call=2), Request(rpc="classify")))

    of_first = [one for one in mixed if one.request == 0]
    assert len(of_first) == MAX_PAYLOADS // 2
    assert of_first == alone[: len(of_first)]


def test_texts_of_a_run_are_those_of_its_pool() -> None:
    scenario = closed(Request(texts_per_call=2))
    bodies = [pb.EmbedRequest.FromString(one.messages[0]) for one in built(scenario)]

    assert [text for body in bodies for text in body.texts] == pool_of(scenario, 2 * len(bodies))


def test_bodies_are_bounded_in_number() -> None:
    assert len(built(closed())) == MAX_PAYLOADS
    assert len(built(Offline(calls=5))) == 5
    assert len(built(Offline(calls=1 << 20))) == MAX_PAYLOADS


def test_bodies_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "MAX_POOL_BYTES", 100_000)
    long = Request(lengths=Fixed(tokens=1000))
    rare = Request(rpc="classify", weight=1e-9)

    found = built(closed(long, rare))

    assert 100_000 < sum(len(one.messages[0]) for one in found) < 110_000
    # However rare, every kind is there.
    assert {one.request for one in found} == {0, 1}


def test_a_recording_too_large_for_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "MAX_RECORDED_BYTES", 1000)

    with pytest.raises(RunFailed, match=r"first \d+ of 200 recorded"):
        built(replay("embed", *[(10,)] * 200))


def test_weights_decide_how_often_each_kind_comes() -> None:
    requests = [Request(weight=weight) for weight in (5, 3, 0.0001)]

    counts = Counter(one.request for one in built(closed(*requests)))

    assert counts == {0: 1279, 1: 768, 2: 1}


@pytest.mark.parametrize("weight", [float("inf"), float("nan")])
def test_weights_without_a_share_are_refused(weight: float) -> None:
    with pytest.raises(RunFailed, match="finite"):
        built(closed(Request(weight=weight), Request()))


def test_more_kinds_than_bodies_are_refused() -> None:
    with pytest.raises(RunFailed, match="2049 kinds"):
        built(closed(*[Request()] * 2049))


def test_a_requests_model_wins() -> None:
    bodies = built(closed(Request(model="own"), Request()), "command")

    models = {one.request: pb.EmbedRequest.FromString(one.messages[0]).model for one in bodies}
    assert models == {0: "own", 1: "command"}


def test_a_model_must_be_named() -> None:
    with pytest.raises(RunFailed, match="pass --model"):
        built(closed(), "")
    with pytest.raises(RunFailed, match="pass --model"):
        built(replay("embed", (3,)), "")


@pytest.mark.parametrize(("command", "expected"), [("", "recorded"), ("command", "command")])
def test_a_replay_takes_the_recorded_model_where_none_is_named(command: str, expected: str) -> None:
    (payload,) = built(replay("embed", (3,), model="recorded"), command)

    assert pb.EmbedRequest.FromString(payload.messages[0]).model == expected


def test_a_replay_has_one_body_for_each_arrival() -> None:
    lengths = [(3 + number % 50, 2) for number in range(MAX_PAYLOADS + 10)]

    bodies = [
        pb.EmbedRequest.FromString(one.messages[0]) for one in built(replay("embed", *lengths))
    ]

    assert [tuple(tokens(text) for text in one.texts) for one in bodies] == lengths


def test_a_replay_that_was_not_read_is_refused() -> None:
    with pytest.raises(RunFailed, match="has not been read"):
        built(Replay(trace="day.jsonl"))


@pytest.mark.parametrize(
    "request_",
    [
        Request(texts_per_call=10**15),
        Request(texts_per_call=1000, lengths=Fixed(tokens=10_000)),
    ],
)
def test_calls_that_no_server_takes_are_refused(request_: Request) -> None:
    with pytest.raises(RunFailed, match="texts_per_call"):
        built(closed(request_))


def test_infer_sends_a_row_for_each_text() -> None:
    request = Request(rpc="infer", texts_per_call=3, lengths=Uniform(min=3, max=9))

    payload = built(closed(request))[0]

    message = inference_pb2.ModelInferRequest.FromString(payload.messages[0])
    assert [(one.name, list(one.shape)) for one in message.inputs] == [("x", [3, 4])]
    assert [(one.name, one.rows) for one in payload.outputs] == [("y", 3)]


def test_infer_stream_sends_one_row_a_message() -> None:
    payload = only("infer-stream")

    messages = [inference_pb2.ModelInferRequest.FromString(body) for body in payload.messages]
    assert [list(one.inputs[0].shape) for one in messages] == [[1, 4]] * 3
    assert [(one.name, one.rows) for one in payload.outputs] == [("y", 1)]


def test_inputs_that_a_model_has_not_are_refused() -> None:
    with pytest.raises(RunFailed, match=r"requests\.tensors\.z: m has no such input; it has x"):
        built(closed(Request(rpc="infer", tensors={"z": Tensor()})))


def test_words_of_texts_come_from_the_package() -> None:
    text = sent("embed", pb.EmbedRequest).texts[0]

    assert set(text.split()) <= set(words())
