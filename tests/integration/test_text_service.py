"""Embed and Tokenize over a real socket."""

from pathlib import Path
from typing import Any

import bundles
import grpc
import numpy as np
import pytest
from loopback import Target
from text_calls import alone, call
from text_calls import refused as refused_call

from protos.heed.v1 import text_pb2 as pb
from server.text.tokenizer import DIRECT_CHARS, num_chars


def embed(target: Target, *texts: str, **options: Any) -> pb.EmbedResponse:
    with target.text() as stub:
        request = pb.EmbedRequest(model="tiny", texts=texts, **options)
        answer: pb.EmbedResponse = stub.Embed(request, timeout=30)
    return answer


def refused(target: Target, request: pb.EmbedRequest) -> grpc.Call:
    with target.text() as stub, pytest.raises(grpc.RpcError) as caught:
        stub.Embed(request, timeout=30)
    assert isinstance(caught.value, grpc.Call)
    return caught.value


def test_vectors_come_back_in_the_order_of_the_texts(target: Target) -> None:
    together = embed(target, "word1", "word2 word3", "word4")

    for text, expected in zip(("word1", "word2 word3", "word4"), together.embeddings, strict=True):
        alone = embed(target, text).embeddings[0]
        np.testing.assert_allclose(alone.values, expected.values, atol=1e-6)


def test_answer_names_model_version_and_id(target: Target) -> None:
    answer = embed(target, "word1", id="call-7")

    assert (answer.model, answer.version, answer.id) == ("tiny", "1", "call-7")


def test_token_counts_include_special_tokens(target: Target) -> None:
    answer = embed(target, "", "word1 word2")

    assert [one.num_tokens for one in answer.embeddings] == [2, 4]


def test_timings_add_up(target: Target) -> None:
    timings = embed(target, "word1", "slow").timings

    assert timings.run_ns > 0
    assert timings.tokenize_ns + timings.queue_ns + timings.run_ns <= timings.total_ns
    assert 1 <= timings.batch_sequences <= 2
    assert timings.batch_tokens >= 3


def test_dimensions_cut_and_normalise_again(target: Target) -> None:
    whole = np.array(embed(target, "word1 word2").embeddings[0].values)
    cut = np.array(embed(target, "word1 word2", dimensions=3).embeddings[0].values)

    np.testing.assert_allclose(cut, whole[:3] / np.linalg.norm(whole[:3]), atol=1e-6)


@pytest.mark.parametrize("truncation", [pb.TRUNCATION_KEEP_START, pb.TRUNCATION_KEEP_END])
def test_truncation_keeps_the_side_asked_for(target: Target, truncation: pb.Truncation) -> None:
    long = " ".join(f"word{number % 50}" for number in range(40))
    kept = long.split()[:30] if truncation == pb.TRUNCATION_KEEP_START else long.split()[-30:]

    answer = embed(target, long, truncation=truncation).embeddings[0]

    assert (answer.num_tokens, answer.truncated) == (32, True)
    expected = embed(target, " ".join(kept)).embeddings[0]
    np.testing.assert_allclose(answer.values, expected.values, atol=1e-6)


def unknown_truncation() -> pb.EmbedRequest:
    return pb.EmbedRequest.FromString(
        pb.EmbedRequest(model="tiny", texts=["a"]).SerializeToString() + b"\x20\x07"
    )


@pytest.mark.parametrize(
    ("request_", "code", "hint"),
    [
        (pb.EmbedRequest(model="other", texts=["a"]), "NOT_FOUND", "RepositoryIndex"),
        (pb.EmbedRequest(model="tiny", version="9", texts=["a"]), "NOT_FOUND", "version 9"),
        (pb.EmbedRequest(model="tiny", version="x", texts=["a"]), "INVALID_ARGUMENT", "whole"),
        (pb.EmbedRequest(model="tiny"), "INVALID_ARGUMENT", "at least one"),
        (pb.EmbedRequest(model="tiny", texts=["a"] * 17), "INVALID_ARGUMENT", "split"),
        (pb.EmbedRequest(model="tiny", texts=["a " * 40]), "INVALID_ARGUMENT", "truncation"),
        (pb.EmbedRequest(model="tiny", texts=["a"], dimensions=0), "INVALID_ARGUMENT", "1 to 8"),
        (pb.EmbedRequest(model="tiny", texts=["a"], dimensions=9), "INVALID_ARGUMENT", "1 to 8"),
        (unknown_truncation(), "INVALID_ARGUMENT", "0 to 2"),
    ],
)
def test_bad_call_says_what_to_change(
    target: Target, request_: pb.EmbedRequest, code: str, hint: str
) -> None:
    error = refused(target, request_)

    assert error.code().name == code
    assert hint in str(error.details())


@pytest.mark.parametrize("data", [b"\x0a\xff", b"\x1a\x02\xff\xfe", b"\xff" * 50])
def test_bytes_that_are_no_message_are_the_callers_fault(target: Target, data: bytes) -> None:
    with target.channel() as channel:
        call: Any = channel.unary_unary("/heed.v1.TextService/Embed")
        with pytest.raises(grpc.RpcError) as caught:
            call(data, timeout=30)

    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "UTF-8" in str(caught.value.details())


def test_huge_message_is_refused_and_the_server_lives(target: Target) -> None:
    error = refused(target, pb.EmbedRequest(model="tiny", texts=["x" * 100_000_000]))

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in str(error.details())
    assert embed(target, "word1").embeddings


def test_poisonous_text_fails_alone(target: Target) -> None:
    with target.text() as stub:
        calls = [
            stub.Embed.future(
                pb.EmbedRequest(model="tiny", texts=[text, "word3", "slow"]), timeout=30
            )
            for text in ["word1", "word2", "poison", "word4", "word5"]
        ]
        codes = [call.code().name for call in calls]

    assert codes == ["OK", "OK", "INTERNAL", "OK", "OK"]


def test_tokenize_gives_pieces_and_offsets(target: Target) -> None:
    with target.text() as stub:
        answer = stub.Tokenize(pb.TokenizeRequest(model="tiny", texts=["word1  nope"]), timeout=30)

    tokens = answer.texts[0].tokens
    assert [token.piece for token in tokens] == ["[CLS]", "word1", "[UNK]", "[SEP]"]
    assert [(token.start, token.end) for token in tokens] == [(0, 0), (0, 5), (7, 11), (0, 0)]
    assert [token.special for token in tokens] == [True, False, False, True]


def test_tokenize_tells_the_texts_of_a_pair_apart(target: Target) -> None:
    inputs = [pb.Input(text="word1", pair="wörd word2"), pb.Input(text="word3")]

    pair, alone = call(target, "Tokenize", pb.TokenizeRequest(model="tiny", inputs=inputs)).texts

    assert [token.is_pair for token in pair.tokens] == [False] * 3 + [True, True, False]
    assert [token.type_id for token in pair.tokens] == [0, 0, 0, 1, 1, 1]
    assert [(token.start, token.end) for token in pair.tokens[3:5]] == [(0, 4), (5, 10)]
    assert [token.piece for token in alone.tokens] == ["[CLS]", "word3", "[SEP]"]


def test_texts_and_inputs_together_are_refused(target: Target) -> None:
    request = pb.TokenizeRequest(model="tiny", texts=["a"], inputs=[pb.Input(text="a")])

    assert "not both" in refused_call(target, "Tokenize", request)[1]


def test_detokenize_gives_text_back(target: Target) -> None:
    sequences = [pb.TokenIds(ids=[5, 6]), pb.TokenIds()]

    answer = call(target, "Detokenize", pb.DetokenizeRequest(model="tiny", sequences=sequences))

    assert list(answer.texts) == ["word1 word2", ""]


def test_id_that_is_no_token_is_named(target: Target) -> None:
    request = pb.DetokenizeRequest(model="tiny", sequences=[pb.TokenIds(ids=[5, 64])])

    code, message = refused_call(target, "Detokenize", request)

    assert (code, "sequences[0] holds 64 at 1" in message) == ("INVALID_ARGUMENT", True)


def test_much_text_is_embedded_as_little_is(target: Target) -> None:
    long = [" ".join(["word1"] * 30)] * 16
    assert sum(map(num_chars, long)) > DIRECT_CHARS

    many = embed(target, *long).embeddings

    for one in many:
        np.testing.assert_allclose(
            one.values, embed(target, long[0]).embeddings[0].values, atol=1e-6
        )


@pytest.mark.parametrize("terms", [False, True])
def test_sparse_vectors_name_the_terms_that_count(
    text_target: Target, text_kinds: Path, *, terms: bool
) -> None:
    request = pb.EmbedRequest(model="sparse", texts=["word1 word2"], terms=terms)

    (one,) = call(text_target, "Embed", request).embeddings

    expected = alone(text_kinds / "sparse/1", "word1 word2")["sparse_embedding"]
    assert not one.values
    assert list(one.sparse.indices) == np.flatnonzero(expected).tolist()
    np.testing.assert_allclose(one.sparse.values, expected[expected > 0], atol=1e-5)
    pieces = [bundles.words()[index] for index in one.sparse.indices]
    assert list(one.sparse.terms) == (pieces if terms else [])


def test_vectors_of_tokens_come_beside_the_one_of_the_text(
    text_target: Target, text_kinds: Path
) -> None:
    request = pb.EmbedRequest(model="late", texts=["word1", "word2 word3"], per_token=True)

    _, two = call(text_target, "Embed", request).embeddings

    expected = alone(text_kinds / "late/1", "word2 word3")
    found = np.array(two.tokens.values).reshape(-1, two.tokens.dimensions)
    np.testing.assert_allclose(found, expected["states"], atol=1e-5)
    np.testing.assert_allclose(two.values, expected["sentence_embedding"], atol=1e-5)
    assert list(two.tokens.ids) == [2, 6, 7, 3]


@pytest.mark.parametrize(
    ("model", "options", "hint"),
    [
        ("sparse", {"dimensions": 2}, "of dense vectors"),
        ("sparse", {"per_token": True}, "no vectors of tokens"),
    ],
)
def test_option_that_the_model_has_no_use_for_is_refused(
    text_target: Target, model: str, options: dict[str, Any], hint: str
) -> None:
    request = pb.EmbedRequest(model=model, texts=["word1"], **options)

    code, message = refused_call(text_target, "Embed", request)

    assert (code, hint in message) == ("INVALID_ARGUMENT", True)
