from collections.abc import Callable, Sequence
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from loadtest.record.codes import code_name
from loadtest.record.row import MISSING, WRONG_ANSWER
from loadtest.workload.answers import read
from loadtest.workload.payload import Outcome, Payload
from protos.heed.v1 import text_pb2 as pb

TIMINGS = pb.Timings(
    tokenize_ns=1, queue_ns=2, run_ns=3, total_ns=10, batch_sequences=4, batch_tokens=50
)
TEXTS = 2


def embedding(**fields: Any) -> pb.Embedding:
    return pb.Embedding(**{"values": [0.1, 0.2], "num_tokens": 5, **fields})


def sparse() -> pb.Embedding:
    return pb.Embedding(sparse=pb.SparseEmbedding(), num_tokens=5)


def ranking(*indices: int) -> list[pb.RankedText]:
    return [pb.RankedText(index=index) for index in indices]


def classification(*labels: str) -> pb.Classification:
    return pb.Classification(labels=[pb.LabelScore(label=one) for one in labels], num_tokens=5)


def filled(*candidates: int) -> pb.FilledText:
    """Return a text with a mask for each number of candidates."""
    masks = [pb.FilledMask(candidates=[pb.MaskCandidate()] * count) for count in candidates]
    return pb.FilledText(masks=masks, num_tokens=5)


def explanation(tokens: int, *weights: int) -> pb.Explanation:
    maps = [pb.AttentionMap(weights=[0.0] * count) for count in weights]
    return pb.Explanation(tokens=[pb.Token()] * tokens, maps=maps)


def tokenized(tokens: int) -> pb.TokenizedText:
    return pb.TokenizedText(tokens=[pb.Token()] * tokens)


Made = tuple[str, type[Message], dict[str, Any]]

RIGHT: list[tuple[Made, int]] = [
    (("Embed", pb.EmbedResponse, {"embeddings": [embedding()] * 2}), 10),
    (("Embed", pb.EmbedResponse, {"embeddings": [sparse()] * 2}), 10),
    (
        (
            "Rerank",
            pb.RerankResponse,
            {"ranking": ranking(1, 0), "scores": [0, 1], "num_tokens": 10},
        ),
        10,
    ),
    (("Similarity", pb.SimilarityResponse, {"scores": [0, 0], "num_tokens": 10}), 10),
    (("Classify", pb.ClassifyResponse, {"classifications": [classification("a")] * 2}), 10),
    (("TokenClassify", pb.TokenClassifyResponse, {"texts": [pb.TaggedText(num_tokens=5)] * 2}), 10),
    (
        (
            "AnswerQuestion",
            pb.AnswerQuestionResponse,
            {"contexts": [pb.ContextAnswers(num_tokens=5, num_windows=1)] * 2},
        ),
        10,
    ),
    (("FillMask", pb.FillMaskResponse, {"texts": [filled(2, 1)] * 2}), 10),
    (("Tokenize", pb.TokenizeResponse, {"texts": [tokenized(5)] * 2}), 10),
    (("Detokenize", pb.DetokenizeResponse, {"texts": ["", "a"]}), 0),
    (("Explain", pb.ExplainResponse, {"explanations": [explanation(5, 25)] * 2}), 10),
]

WRONG: list[Made] = [
    ("Embed", pb.EmbedResponse, {}),
    ("Embed", pb.EmbedResponse, {"embeddings": [embedding()]}),
    ("Embed", pb.EmbedResponse, {"embeddings": [embedding()] * 3}),
    ("Embed", pb.EmbedResponse, {"embeddings": [embedding(), embedding(values=[])]}),
    ("Rerank", pb.RerankResponse, {"ranking": ranking(0), "scores": [0, 1]}),
    ("Rerank", pb.RerankResponse, {"ranking": ranking(0, 0), "scores": [0, 1]}),
    ("Rerank", pb.RerankResponse, {"ranking": ranking(1, 2), "scores": [0, 1]}),
    ("Rerank", pb.RerankResponse, {"ranking": ranking(0, 1), "scores": [0]}),
    ("Similarity", pb.SimilarityResponse, {"scores": [0]}),
    ("Classify", pb.ClassifyResponse, {"classifications": [classification("a")]}),
    (
        "Classify",
        pb.ClassifyResponse,
        {"classifications": [classification("a"), classification()]},
    ),
    ("TokenClassify", pb.TokenClassifyResponse, {"texts": [pb.TaggedText(num_tokens=5)]}),
    (
        "TokenClassify",
        pb.TokenClassifyResponse,
        {"texts": [pb.TaggedText(num_tokens=5), pb.TaggedText()]},
    ),
    ("AnswerQuestion", pb.AnswerQuestionResponse, {"contexts": [pb.ContextAnswers()] * 2}),
    ("AnswerQuestion", pb.AnswerQuestionResponse, {}),
    ("FillMask", pb.FillMaskResponse, {"texts": [filled(1)]}),
    ("FillMask", pb.FillMaskResponse, {"texts": [filled(1), filled()]}),
    ("FillMask", pb.FillMaskResponse, {"texts": [filled(1), filled(1, 0)]}),
    ("Tokenize", pb.TokenizeResponse, {"texts": [tokenized(5)]}),
    ("Tokenize", pb.TokenizeResponse, {"texts": [tokenized(5), tokenized(0)]}),
    ("Detokenize", pb.DetokenizeResponse, {"texts": ["a"]}),
    ("Explain", pb.ExplainResponse, {"explanations": [explanation(5, 25)]}),
    ("Explain", pb.ExplainResponse, {"explanations": [explanation(5)] * 2}),
    ("Explain", pb.ExplainResponse, {"explanations": [explanation(5, 25, 24)] * 2}),
]

STREAMS: dict[str, Callable[..., Any]] = {
    "EmbedStream": pb.EmbedStreamResponse,
    "RerankStream": pb.RerankStreamResponse,
    "ClassifyStream": pb.ClassifyStreamResponse,
}
ALONE: dict[str, Message] = {
    "EmbedStream": pb.EmbedResponse(embeddings=[embedding()]),
    "RerankStream": pb.RerankResponse(ranking=ranking(0), scores=[0], num_tokens=5),
    "ClassifyStream": pb.ClassifyResponse(classifications=[classification("a")]),
}


def payload(method: str, texts: int = TEXTS) -> Payload:
    kind: Any = "stream" if method.endswith("Stream") else "unary"
    return Payload(0, f"/heed.v1.TextService/{method}", kind, (b"",), texts)


def said(method: str, *messages: Message | bytes) -> Outcome:
    bodies = [one if isinstance(one, bytes) else one.SerializeToString() for one in messages]
    return read(payload(method), bodies, ())


def ids(cases: Sequence[Made]) -> list[str]:
    return [f"{number} {method}" for number, (method, _, _) in enumerate(cases)]


@pytest.mark.parametrize(("made", "tokens"), RIGHT, ids=ids([made for made, _ in RIGHT]))
def test_right_answers_say_tokens_and_timings(made: Made, tokens: int) -> None:
    method, message, fields = made

    assert said(method, message(**fields, timings=TIMINGS)) == Outcome(
        0, tokens, 1, 2, 3, 10, 4, 50
    )


@pytest.mark.parametrize(("made", "tokens"), RIGHT, ids=ids([made for made, _ in RIGHT]))
def test_answers_without_timings_say_so(made: Made, tokens: int) -> None:
    method, message, fields = made

    found = said(method, message(**fields))

    assert found == Outcome(0, tokens)
    assert found.total_ns == found.batch_tokens == MISSING


@pytest.mark.parametrize("made", WRONG, ids=ids(WRONG))
def test_wrong_answers_are_found(made: Made) -> None:
    method, message, fields = made

    assert said(method, message(**fields, timings=TIMINGS)) == Outcome(WRONG_ANSWER)


@pytest.mark.parametrize("method", [made[0] for made, _ in RIGHT])
def test_bytes_that_are_no_message_are_wrong(method: str) -> None:
    assert said(method, b"\x0a\xff").code == WRONG_ANSWER


@pytest.mark.parametrize("number", [0, 2])
def test_a_unary_call_has_one_answer(number: int) -> None:
    answer = pb.EmbedResponse(embeddings=[embedding()] * 2)

    assert said("Embed", *[answer] * number).code == WRONG_ANSWER


@pytest.mark.parametrize("method", STREAMS)
def test_a_stream_is_as_slow_as_its_slowest_message(method: str) -> None:
    stream = STREAMS[method]
    fast, slow = stream(response=ALONE[method]), stream(response=ALONE[method])
    fast.response.timings.CopyFrom(pb.Timings(run_ns=9, total_ns=9))
    slow.response.timings.CopyFrom(TIMINGS)

    for messages in ((fast, slow), (slow, fast)):
        assert said(method, *messages) == Outcome(0, 10, 1, 2, 3, 10, 4, 50)


@pytest.mark.parametrize("method", STREAMS)
def test_a_stream_without_timings_says_so(method: str) -> None:
    one = STREAMS[method](response=ALONE[method])

    assert said(method, one, one) == Outcome(0, 10)


@pytest.mark.parametrize("method", STREAMS)
@pytest.mark.parametrize(
    "broken",
    [
        lambda stream: stream(failure=pb.Failure(code=8)),
        lambda stream: stream(response={}),
        lambda stream: stream(),
        lambda stream: b"\x0a\xff",  # noqa: ARG005  (bytes are no stream's)
    ],
)
def test_a_stream_with_a_failure_is_wrong(
    method: str, broken: Callable[[Callable[..., Any]], Message | bytes]
) -> None:
    stream = STREAMS[method]

    assert said(method, stream(response=ALONE[method]), broken(stream)).code == WRONG_ANSWER


@pytest.mark.parametrize("method", STREAMS)
@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_stream_must_be_whole(method: str, number: int) -> None:
    one = STREAMS[method](response=ALONE[method])

    assert said(method, *[one] * number).code == WRONG_ANSWER


def test_numbers_beyond_the_record_are_not_believed() -> None:
    huge = pb.Timings(run_ns=2**64 - 1, total_ns=2**63, batch_tokens=2**32 - 1)
    answer = pb.EmbedResponse(embeddings=[embedding(num_tokens=2**32 - 1)] * 2, timings=huge)

    found = said("Embed", answer)

    assert (found.run_ns, found.total_ns, found.batch_tokens) == (MISSING,) * 3
    assert found.tokens == 2**31 - 1


def test_codes_have_names() -> None:
    assert code_name(0) == "OK"
    assert code_name(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]) == "RESOURCE_EXHAUSTED"
    assert code_name(WRONG_ANSWER) == "WRONG_ANSWER"
    assert code_name(77) == "CODE_77"
