"""What an answer says: whether it is one to the question, its tokens, the server's own account.

Once per call, in the process that sends: as cheap as the parsing itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from google.protobuf.message import DecodeError

from loadtest.record.row import WRONG_ANSWER
from loadtest.workload import stages
from loadtest.workload.methods import INFER, INFER_STREAM, TEXT
from loadtest.workload.outputs import is_answer
from loadtest.workload.payload import Outcome, Payload
from protos import inference_pb2
from protos.heed.v1 import text_pb2 as pb

WRONG: Final = Outcome(WRONG_ANSWER)


def read(
    payload: Payload, messages: Sequence[bytes], trailing: Sequence[tuple[str, str]]
) -> Outcome:
    """Return what the answer to a call that ended OK says.

    Args:
        payload: what was sent.
        messages: the answer; one for a unary call.
        trailing: metadata that came with its end.
    """
    expected = 1 if payload.kind == "unary" else payload.texts
    if len(messages) != expected:
        return WRONG
    try:
        if payload.method == INFER:
            return _infer(payload, messages[0], trailing)
        if payload.method == INFER_STREAM:
            return _infer_stream(payload, messages)
        reader = _READERS[payload.method]
        if payload.kind == "unary":
            return _text(reader, messages[0], payload.texts)
        return _text_stream(reader, messages)
    except DecodeError:
        return WRONG


@dataclass(frozen=True, slots=True)
class _Reader:
    """How the answers of one method are read."""

    parse: Callable[[bytes], Any]
    tokens: Callable[[Any, int], int]
    """Response, texts -> tokens of the answer; -1 where it is none to so many texts."""


def _text(reader: _Reader, body: bytes, texts: int) -> Outcome:
    response = reader.parse(body)
    tokens = reader.tokens(response, texts)
    if tokens < 0:
        return WRONG
    if not response.HasField("timings"):
        return stages.without(tokens)
    return stages.from_message(response.timings, tokens)


def _text_stream(reader: _Reader, messages: Sequence[bytes]) -> Outcome:
    """Put the answers together; the account is that of the one that took longest."""
    total = 0
    longest: pb.Timings | None = None
    for body in messages:
        result = reader.parse(body)
        if result.WhichOneof("result") != "response":
            return WRONG
        response = result.response
        tokens = reader.tokens(response, 1)
        if tokens < 0:
            return WRONG
        total += tokens
        if response.HasField("timings") and (
            longest is None or response.timings.total_ns > longest.total_ns
        ):
            longest = response.timings
    return stages.without(total) if longest is None else stages.from_message(longest, total)


def _infer(payload: Payload, body: bytes, trailing: Sequence[tuple[str, str]]) -> Outcome:
    response = inference_pb2.ModelInferResponse.FromString(body)
    if not is_answer(response, payload.outputs):
        return WRONG
    return stages.from_trailer(trailing)


def _infer_stream(payload: Payload, messages: Sequence[bytes]) -> Outcome:
    """Trailing metadata would speak of the stream, not of its messages: there is no account."""
    for body in messages:
        if not any(_is_streamed(parse, body, payload) for parse in (_wrapped, _bare)):
            return WRONG
    return stages.without()


def _is_streamed(
    parse: Callable[[bytes], inference_pb2.ModelInferResponse], body: bytes, payload: Payload
) -> bool:
    try:
        return is_answer(parse(body), payload.outputs)
    except DecodeError:
        return False


def _wrapped(body: bytes) -> inference_pb2.ModelInferResponse:
    """Return the answer as Triton and heed send it; an empty one where there is an error."""
    answer = inference_pb2.ModelStreamInferResponse.FromString(body)
    return inference_pb2.ModelInferResponse() if answer.error_message else answer.infer_response


# As MLServer sends it. The two cannot be mixed up: outputs are a field that Triton's has not.
_bare: Final = inference_pb2.ModelInferResponse.FromString


def _embed(response: pb.EmbedResponse, texts: int) -> int:
    embeddings = response.embeddings
    if len(embeddings) != texts:
        return -1
    tokens = 0
    for one in embeddings:
        # A sparse vector without entries is still one.
        if not one.values and not one.HasField("sparse"):
            return -1
        tokens += one.num_tokens
    return tokens


def _rerank(response: pb.RerankResponse, texts: int) -> int:
    if len(response.scores) != texts or len(response.ranking) != texts:
        return -1
    indices = sorted([one.index for one in response.ranking])
    return response.num_tokens if indices == list(range(texts)) else -1


def _similarity(response: pb.SimilarityResponse, texts: int) -> int:
    return response.num_tokens if len(response.scores) == texts else -1


def _explain(response: pb.ExplainResponse, texts: int) -> int:
    explanations = response.explanations
    if len(explanations) != texts:
        return -1
    for one in explanations:
        if not one.maps or any(len(map_.weights) != len(one.tokens) ** 2 for map_ in one.maps):
            return -1
    return sum([len(one.tokens) for one in explanations])


def _detokenize(response: pb.DetokenizeResponse, texts: int) -> int:
    return 0 if len(response.texts) == texts else -1


def _each(
    parts: str, is_whole: Callable[[Any], bool], count: Callable[[Any], int]
) -> Callable[[Any, int], int]:
    """Return a reader of answers that have one part for each text."""
    parts_of = attrgetter(parts)

    def tokens(response: Any, texts: int) -> int:  # noqa: ANN401  (any of the responses)
        found = parts_of(response)
        if len(found) != texts or not all(map(is_whole, found)):
            return -1
        return sum(map(count, found))

    return tokens


def _masks(text: pb.FilledText) -> bool:
    return bool(text.masks) and all(mask.candidates for mask in text.masks)


_num_tokens: Final = attrgetter("num_tokens")
_classify: Final = _each("classifications", lambda one: bool(one.labels), _num_tokens)

_READERS: Final = {
    TEXT + method: _Reader(response.FromString, tokens)
    for method, response, tokens in (
        ("Embed", pb.EmbedResponse, _embed),
        ("Rerank", pb.RerankResponse, _rerank),
        ("Similarity", pb.SimilarityResponse, _similarity),
        ("Classify", pb.ClassifyResponse, _classify),
        # A text may hold nothing to tag, but always tokens.
        ("TokenClassify", pb.TokenClassifyResponse, _each("texts", _num_tokens, _num_tokens)),
        ("AnswerQuestion", pb.AnswerQuestionResponse, _each("contexts", _num_tokens, _num_tokens)),
        ("FillMask", pb.FillMaskResponse, _each("texts", _masks, _num_tokens)),
        (
            "Tokenize",
            pb.TokenizeResponse,
            _each("texts", lambda one: bool(one.tokens), lambda one: len(one.tokens)),
        ),
        ("Detokenize", pb.DetokenizeResponse, _detokenize),
        ("Explain", pb.ExplainResponse, _explain),
        ("EmbedStream", pb.EmbedStreamResponse, _embed),
        ("RerankStream", pb.RerankStreamResponse, _rerank),
        ("ClassifyStream", pb.ClassifyStreamResponse, _classify),
    )
}
