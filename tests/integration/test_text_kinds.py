"""Which calls which models answer, and what all calls have in common."""

from typing import Any

import pytest
from google.protobuf.message import Message
from loopback import Target
from text_calls import call, refused

from protos.heed.v1 import text_pb2 as pb

MODELS = ("topics", "tagger", "reader", "filler", "ranker", "judge", "sparse", "late")
REQUESTS: dict[str, dict[str, Any]] = {
    "Embed": {"texts": ["word1"]},
    "Rerank": {"query": "word1", "texts": ["word2"]},
    "Similarity": {"source": "word1", "texts": ["word2"]},
    "Classify": {"inputs": [pb.Input(text="word1")]},
    "TokenClassify": {"texts": ["word1"]},
    "AnswerQuestion": {"question": "word1", "contexts": ["word2"]},
    "FillMask": {"texts": ["word0"]},
    "Tokenize": {"texts": ["word1"]},
    "Detokenize": {"sequences": [pb.TokenIds(ids=[5])]},
}
ANSWERED = {
    "Embed": {"sparse", "late"},
    "Rerank": {"ranker", "late"},
    "Similarity": {"late"},
    "Classify": {"topics", "judge", "ranker"},
    "TokenClassify": {"tagger"},
    "AnswerQuestion": {"reader"},
    "FillMask": {"filler"},
    "Tokenize": set(MODELS),
    "Detokenize": set(MODELS),
}


def request(method: str, **fields: Any) -> Message:
    kind: type[Message] = getattr(pb, f"{method}Request")
    return kind(**(REQUESTS[method] | fields))


@pytest.mark.parametrize("method", REQUESTS)
def test_models_for_the_task_answer_and_others_say_what_they_are_for(
    text_target: Target, method: str
) -> None:
    for model in MODELS:
        if model in ANSWERED[method]:
            answer = call(text_target, method, request(method, model=model, id="one"))
            assert (answer.model, answer.version, answer.id) == (model, "1", "one")
            assert answer.timings.total_ns > 0
        else:
            code, message = refused(text_target, method, request(method, model=model))
            assert code == "INVALID_ARGUMENT"
            assert f"model '{model}' is for" in message
            assert method in message


@pytest.mark.parametrize("method", sorted(set(REQUESTS) - {"Tokenize", "Detokenize"}))
def test_priority_beyond_the_levels_is_refused(text_target: Target, method: str) -> None:
    model = min(ANSWERED[method])

    code, message = refused(text_target, method, request(method, model=model, priority=77))

    assert (code, "priority is 77" in message) == ("INVALID_ARGUMENT", True)
    assert call(text_target, method, request(method, model=model, priority=1))


@pytest.mark.parametrize("method", REQUESTS)
def test_unknown_model_is_not_found(text_target: Target, method: str) -> None:
    code, message = refused(text_target, method, request(method, model="other"))

    assert (code, "RepositoryIndex" in message) == ("NOT_FOUND", True)


def test_models_of_whole_rows_have_no_texts(row_target: Target) -> None:
    code, message = refused(row_target, "Tokenize", request("Tokenize", model="pixels"))

    assert (code, "ModelInfer" in message) == ("INVALID_ARGUMENT", True)
