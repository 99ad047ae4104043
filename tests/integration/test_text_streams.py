"""Text calls as streams: many requests under way, answered in order, failures among them."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from loopback import Target
from text_calls import call

from protos.heed.v1 import text_pb2 as pb


def embeds(*texts: str) -> Iterator[pb.EmbedRequest]:
    for number, text in enumerate(texts):
        yield pb.EmbedRequest(model="tiny", texts=[text], id=str(number))


def test_answers_come_in_the_order_of_the_requests(target: Target) -> None:
    texts = ["slow", *(f"word{number}" for number in range(50))] * 3

    with target.text() as stub:
        answers = list(stub.EmbedStream(embeds(*texts), timeout=60))

    assert [one.response.id for one in answers] == [str(number) for number in range(len(texts))]
    alone = call(target, "Embed", pb.EmbedRequest(model="tiny", texts=["word49"]))
    assert answers[50].response.embeddings[0].values == pytest.approx(
        alone.embeddings[0].values, abs=1e-5
    )


def test_failure_in_the_middle_leaves_the_stream_open(target: Target) -> None:
    with target.text() as stub:
        answers = list(
            stub.EmbedStream(embeds("word1", "word2 " * 40, "poison", "word3"), timeout=60)
        )

    assert [one.WhichOneof("result") for one in answers] == [
        "response", "failure", "failure", "response",
    ]  # fmt: skip
    too_long, failed = answers[1].failure, answers[2].failure
    assert (too_long.id, too_long.code) == ("1", grpc.StatusCode.INVALID_ARGUMENT.value[0])
    assert "texts[0] has 42 tokens" in too_long.message
    assert (failed.id, failed.code) == ("2", grpc.StatusCode.INTERNAL.value[0])


def test_stream_answers_while_the_caller_still_writes(target: Target) -> None:
    with target.text() as stub:
        written = iter(["word1", "word2"])
        requests = iter(embeds(*written))
        stream = stub.EmbedStream(requests, timeout=60)

        assert [one.response.id for one in stream] == ["0", "1"]


def test_bytes_that_are_no_message_end_the_stream(target: Target) -> None:
    with target.channel() as channel:
        stream: Any = channel.stream_stream("/heed.v1.TextService/EmbedStream")
        with pytest.raises(grpc.RpcError) as caught:
            list(stream(iter([b"\x0a\xff"]), timeout=30))

    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_rerank_and_classify_stream_too(text_target: Target) -> None:
    rerank = pb.RerankRequest(model="ranker", query="word1", texts=["word2"], id="r")
    classify = pb.ClassifyRequest(model="judge", inputs=[pb.Input(text="word1")], id="c")

    with text_target.text() as stub:
        reranked = list(stub.RerankStream(iter([rerank, pb.RerankRequest(id="bad")]), timeout=30))
        classified = list(stub.ClassifyStream(iter([classify]), timeout=30))

    assert reranked[0].response.id == "r"
    assert (reranked[1].failure.id, reranked[1].failure.code) == ("bad", 5)
    assert classified[0].response.id == "c"
