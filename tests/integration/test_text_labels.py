"""Classify and TokenClassify over a real socket."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import HIDDEN, TAGS, VERDICTS
from loopback import Target
from text_calls import alone, call, refused, softmax

from protos.heed.v1 import text_pb2 as pb


def classify(target: Target, model: str, *inputs: pb.Input, **options: Any) -> pb.ClassifyResponse:
    request = pb.ClassifyRequest(model=model, inputs=inputs, **options)
    answer: pb.ClassifyResponse = call(target, "Classify", request)
    return answer


def by_index(one: pb.Classification) -> list[float]:
    return [label.score for label in sorted(one.labels, key=lambda label: label.index)]


def test_exclusive_labels_score_by_softmax_and_the_likeliest_holds(
    text_target: Target, text_kinds: Path
) -> None:
    pair = pb.Input(text="word1 word2", pair="word3")

    answer = classify(text_target, "judge", pair)

    (one,) = answer.classifications
    logits = alone(text_kinds / "judge/1", "word1 word2", "word3", types=True)["logits"]
    np.testing.assert_allclose(by_index(one), softmax(logits), atol=1e-5)
    assert answer.kind == pb.LABEL_KIND_SINGLE
    assert [label.holds for label in one.labels] == [True, False, False]
    assert one.labels[0].label == VERDICTS[int(logits.argmax())]
    assert one.num_tokens == 6


def test_pair_is_not_the_text_alone(text_target: Target) -> None:
    pair, text = pb.Input(text="word1", pair="word2"), pb.Input(text="word1")

    answer = classify(text_target, "judge", pair, text)

    assert by_index(answer.classifications[0]) != by_index(answer.classifications[1])


def test_independent_labels_score_by_sigmoid_and_hold_from_their_thresholds(
    text_target: Target, text_kinds: Path
) -> None:
    answer = classify(text_target, "topics", pb.Input(text="word1"))

    (one,) = answer.classifications
    logits = alone(text_kinds / "topics/1", "word1")["logits"]
    np.testing.assert_allclose(by_index(one), 1 / (1 + np.exp(-logits)), atol=1e-5)
    assert answer.kind == pb.LABEL_KIND_MULTI
    assert [label.holds for label in one.labels] == [label.score >= 0.5 for label in one.labels]


def test_threshold_of_the_caller_replaces_the_models(text_target: Target) -> None:
    (one,) = classify(text_target, "topics", pb.Input(text="word1"), threshold=0).classifications

    assert all(label.holds for label in one.labels)


def test_values_come_as_they_are_in_the_models_order(text_target: Target, text_kinds: Path) -> None:
    answer = classify(text_target, "grader", pb.Input(text="word1"))

    (one,) = answer.classifications
    logits = alone(text_kinds / "grader/1", "word1", types=True)["logits"]
    assert answer.kind == pb.LABEL_KIND_REGRESSION
    assert [label.label for label in one.labels] == ["clarity", "tone"]
    np.testing.assert_allclose([label.score for label in one.labels], logits, atol=1e-5)
    assert not any(label.holds for label in one.labels)


def test_top_k_keeps_the_best_and_logits_come_whole(text_target: Target) -> None:
    (one,) = classify(
        text_target, "topics", pb.Input(text="word1"), top_k=2, return_logits=True
    ).classifications

    assert len(one.labels) == 2
    assert len(one.logits) == HIDDEN
    assert one.labels[0].index == int(np.argmax(one.logits))


def test_cross_encoders_classify_too(text_target: Target) -> None:
    (one,) = classify(text_target, "ranker", pb.Input(text="word1", pair="word2")).classifications

    assert [label.label for label in one.labels] == ["relevant"]


@pytest.mark.parametrize(
    ("model", "fields", "hint"),
    [
        ("judge", {}, "inputs is empty"),
        ("judge", {"inputs": [pb.Input(text="a")], "top_k": 0}, "top_k is 0"),
        ("judge", {"inputs": [pb.Input(text="a")], "threshold": 0.5}, "single"),
        ("topics", {"inputs": [pb.Input(text="a")], "threshold": 1.5}, "0 to 1"),
        ("judge", {"inputs": [pb.Input(), pb.Input(text="a " * 40)]}, "inputs[1] has 42 tokens"),
    ],
)
def test_bad_classify_says_what_to_change(
    text_target: Target, model: str, fields: dict[str, Any], hint: str
) -> None:
    request = pb.ClassifyRequest(model=model, **fields)

    code, message = refused(text_target, "Classify", request)

    assert code == "INVALID_ARGUMENT"
    assert hint in message


TEXT = "word7 word8  wörd word9 word10"


def token_classify(target: Target, *texts: str, **options: Any) -> list[pb.TaggedText]:
    request = pb.TokenClassifyRequest(model="tagger", texts=texts, **options)
    return list(call(target, "TokenClassify", request).texts)


def test_tokens_by_themselves_have_their_likeliest_label(
    text_target: Target, text_kinds: Path
) -> None:
    (tagged,) = token_classify(text_target, TEXT, aggregation=pb.AGGREGATION_NONE)

    scores = softmax(alone(text_kinds / "tagger/1", TEXT)["logits"][1:-1])
    assert [span.label for span in tagged.spans] == [TAGS[tag] for tag in scores.argmax(axis=1)]
    np.testing.assert_allclose([span.score for span in tagged.spans], scores.max(axis=1), atol=1e-5)
    assert tagged.num_tokens == 7


def test_offsets_count_characters_and_not_bytes(text_target: Target) -> None:
    (tagged,) = token_classify(text_target, TEXT, aggregation=pb.AGGREGATION_NONE)

    assert [span.text for span in tagged.spans] == TEXT.split()
    assert [TEXT[span.start : span.end] for span in tagged.spans] == TEXT.split()


def test_neighbours_of_one_kind_become_one_span(text_target: Target) -> None:
    (apart,) = token_classify(text_target, TEXT, aggregation=pb.AGGREGATION_NONE)
    (spans,) = token_classify(text_target, TEXT)

    kinds = [span.label for span in apart.spans]
    changes = sum(first != second for first, second in pairwise(kinds))
    assert len(spans.spans) == changes + 1
    assert (spans.spans[0].start, spans.spans[-1].end) == (0, len(TEXT))


def test_ignored_labels_are_left_out(text_target: Target) -> None:
    (tagged,) = token_classify(text_target, TEXT, ignored_labels=list(TAGS))

    assert not tagged.spans


def test_empty_text_has_no_spans(text_target: Target) -> None:
    first, second = token_classify(text_target, "", "word7")

    assert not first.spans
    assert second.spans


def test_unknown_aggregation_is_refused(text_target: Target) -> None:
    fields: dict[str, Any] = {"aggregation": 9}
    request = pb.TokenClassifyRequest(model="tagger", texts=["a"], **fields)

    code, message = refused(text_target, "TokenClassify", request)

    assert (code, "aggregation 9 is unknown" in message) == ("INVALID_ARGUMENT", True)


def test_long_calls_are_read_as_short_ones_are(text_target: Target) -> None:
    long = " ".join([TEXT] * 6)

    *_, many = token_classify(text_target, *[long] * 16)
    (one,) = token_classify(text_target, long)

    assert [(span.label, span.start) for span in many.spans] == [
        (span.label, span.start) for span in one.spans
    ]
