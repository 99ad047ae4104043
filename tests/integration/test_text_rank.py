"""Rerank and Similarity over a real socket."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loopback import Target
from text_calls import alone, call, refused, softmax

from protos.heed.v1 import text_pb2 as pb

TEXTS = ["word1 word2", "word3", "word4 word5 word6", "word7", "word2 word1"]


def rerank(target: Target, model: str = "ranker", **options: Any) -> pb.RerankResponse:
    request = pb.RerankRequest(model=model, query="word9 word8", texts=TEXTS, **options)
    answer: pb.RerankResponse = call(target, "Rerank", request)
    return answer


def relevant(bundles: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(
        [alone(bundles / "ranker/1", "word9 word8", one, types=True)["logits"][0] for one in TEXTS],
        np.float64,
    )


def test_cross_encoder_scores_are_those_of_pairs_read_alone(
    text_target: Target, text_kinds: Path
) -> None:
    answer = rerank(text_target, transform=pb.SCORE_TRANSFORM_RAW)

    np.testing.assert_allclose(answer.scores, relevant(text_kinds), atol=1e-5)
    assert answer.transform == pb.SCORE_TRANSFORM_RAW
    assert (answer.model, answer.version) == ("ranker", "1")


def test_label_that_is_a_probability_scores_by_sigmoid_unless_asked_otherwise(
    text_target: Target, text_kinds: Path
) -> None:
    answer = rerank(text_target)

    np.testing.assert_allclose(answer.scores, 1 / (1 + np.exp(-relevant(text_kinds))), atol=1e-5)
    assert answer.transform == pb.SCORE_TRANSFORM_SIGMOID


def test_ranking_falls_and_repeats_texts_only_where_asked(text_target: Target) -> None:
    plain, full = rerank(text_target), rerank(text_target, return_texts=True)

    assert [one.index for one in plain.ranking] == np.argsort(-np.array(plain.scores)).tolist()
    assert not any(one.text for one in plain.ranking)
    assert [one.text for one in full.ranking] == [TEXTS[one.index] for one in full.ranking]


def test_top_n_cuts_the_ranking_and_not_the_scores(text_target: Target) -> None:
    answer = rerank(text_target, top_n=2)

    assert len(answer.ranking) == 2
    assert len(answer.scores) == len(answer.weights) == len(TEXTS)
    assert [one.index for one in answer.ranking] == [
        one.index for one in rerank(text_target).ranking[:2]
    ]


@pytest.mark.parametrize("temperature", [0.25, 4.0])
def test_weights_are_a_softmax_of_raw_relevance_over_temperature(
    text_target: Target, text_kinds: Path, temperature: float
) -> None:
    answer = rerank(text_target, temperature=temperature)

    expected = softmax(relevant(text_kinds) / temperature)
    np.testing.assert_allclose(answer.weights, expected, atol=1e-5)
    for one in answer.ranking:
        assert one.weight == answer.weights[one.index]


def test_truncation_cuts_texts_and_says_which(text_target: Target) -> None:
    texts = ["word1", "word2 " * 40]
    request = pb.RerankRequest(
        model="ranker", query="word9", texts=texts, truncation=pb.TRUNCATION_KEEP_START
    )

    answer = call(text_target, "Rerank", request)

    assert list(answer.truncated) == [1]
    assert answer.num_tokens == 5 + 32


@pytest.mark.parametrize("similarity", [pb.VECTOR_SIMILARITY_COSINE, pb.VECTOR_SIMILARITY_DOT])
def test_embedding_models_rerank_by_similarity(
    target: Target, similarity: pb.VectorSimilarity
) -> None:
    answer = rerank(target, "tiny", similarity=similarity)

    request = pb.EmbedRequest(model="tiny", texts=["word9 word8", *TEXTS])
    query, *texts = (np.array(one.values) for one in call(target, "Embed", request).embeddings)
    np.testing.assert_allclose(answer.scores, [query @ text for text in texts], atol=1e-5)
    assert answer.transform == pb.SCORE_TRANSFORM_RAW


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"texts": []}, "texts is empty"),
        ({"texts": ["a"] * 17}, "split"),
        ({"top_n": 0}, "top_n is 0"),
        ({"temperature": 0}, "temperature is 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"transform": 9}, "transform 9 is unknown"),
        ({"similarity": pb.VECTOR_SIMILARITY_DOT}, "compares no vectors"),
        ({"texts": ["a", "b " * 40]}, "texts[1] has 44 tokens"),
        ({"query": "a " * 40, "truncation": pb.TRUNCATION_KEEP_END}, "texts[0]: the first text"),
        ({"priority": 77}, "priority is 77"),
    ],
)
def test_bad_rerank_says_what_to_change(
    text_target: Target, changes: dict[str, Any], hint: str
) -> None:
    fields: dict[str, Any] = {"model": "ranker", "query": "a", "texts": ["b"]}
    code, message = refused(text_target, "Rerank", pb.RerankRequest(**(fields | changes)))

    assert code == "INVALID_ARGUMENT"
    assert hint in message


def test_sigmoid_of_a_similarity_is_refused(target: Target) -> None:
    request = pb.RerankRequest(
        model="tiny", query="a", texts=["b"], transform=pb.SCORE_TRANSFORM_SIGMOID
    )

    assert "no logit" in refused(target, "Rerank", request)[1]


def test_long_query_is_never_cut_for_embedding_models(target: Target) -> None:
    request = pb.RerankRequest(
        model="tiny", query="a " * 40, texts=["b"], truncation=pb.TRUNCATION_KEEP_START
    )

    assert refused(target, "Rerank", request)[1].startswith("query has more tokens")


def test_similarity_of_a_source_is_that_of_the_embeddings(target: Target) -> None:
    request = pb.SimilarityRequest(model="tiny", source="word9", texts=[*TEXTS, "word9"])

    answer = call(target, "Similarity", request)

    embedded = call(target, "Embed", pb.EmbedRequest(model="tiny", texts=["word9", *TEXTS]))
    source, *texts = (np.array(one.values) for one in embedded.embeddings)
    np.testing.assert_allclose(answer.scores[:-1], [source @ text for text in texts], atol=1e-5)
    assert answer.scores[-1] == pytest.approx(1)


def test_a_text_that_comes_again_is_run_once(target: Target) -> None:
    pairs = [pb.Input(text="word1", pair="word2"), pb.Input(text="word2", pair="word1")]

    answer = call(target, "Similarity", pb.SimilarityRequest(model="tiny", pairs=pairs))

    assert answer.scores[0] == answer.scores[1]
    assert answer.num_tokens == 6


def test_similarity_of_cut_vectors_is_a_cosine_again(target: Target) -> None:
    request = pb.SimilarityRequest(model="tiny", source="word9", texts=["word1"], dimensions=2)

    answer = call(target, "Similarity", request)

    embedded = call(
        target, "Embed", pb.EmbedRequest(model="tiny", texts=["word9", "word1"], dimensions=2)
    )
    first, second = (np.array(one.values) for one in embedded.embeddings)
    assert answer.scores[0] == pytest.approx(first @ second, abs=1e-5)


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({}, "texts is empty"),
        ({"source": "a"}, "texts is empty"),
        ({"texts": ["a"]}, "source is missing"),
        ({"source": "a", "pairs": [pb.Input(text="a", pair="b")]}, "not both"),
        ({"pairs": [pb.Input(text="a", pair="b"), pb.Input(text="a")]}, "pairs[1].pair is missing"),
        ({"source": "a " * 40, "texts": ["b"]}, "source has 42 tokens"),
        ({"source": "a", "texts": ["b", "c " * 40]}, "texts[1] has 42 tokens"),
        ({"pairs": [pb.Input(text="a", pair="b " * 40)]}, "pairs[0] has 42 tokens"),
        ({"source": "a", "texts": ["b"], "dimensions": 9}, "1 to 8"),
        ({"source": "a", "texts": ["b"], "similarity": 9}, "similarity 9 is unknown"),
    ],
)
def test_bad_similarity_says_what_to_change(
    target: Target, fields: dict[str, Any], hint: str
) -> None:
    code, message = refused(target, "Similarity", pb.SimilarityRequest(model="tiny", **fields))

    assert code == "INVALID_ARGUMENT"
    assert hint in message
