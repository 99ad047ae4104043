"""AnswerQuestion and FillMask over a real socket."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import MASK_ID, words
from loopback import Target
from text_calls import alone, call, refused, softmax

from protos.heed.v1 import text_pb2 as pb

QUESTION = "word1 word2"
CONTEXT = "wörd3 word4  word5 word6 word7"
LONG = " ".join(f"word{number % 50}" for number in range(100))


def ask(target: Target, *contexts: str, **options: Any) -> list[pb.ContextAnswers]:
    request = pb.AnswerQuestionRequest(
        model="reader", question=QUESTION, contexts=contexts, **options
    )
    return list(call(target, "AnswerQuestion", request).contexts)


def probabilities(text_kinds: Path) -> tuple[Any, Any]:
    """Return those of [CLS] and of the five words of the context."""
    answer = alone(text_kinds / "reader/1", QUESTION, CONTEXT, types=True)
    start, end = (
        softmax(answer[f"{side}_logits"][[0, 4, 5, 6, 7, 8]]) for side in ("start", "end")
    )
    return start, end


def test_best_answer_is_the_span_with_the_largest_product(
    text_target: Target, text_kinds: Path
) -> None:
    start, end = probabilities(text_kinds)
    products = np.triu(np.outer(start[1:], end[1:]))
    first, last = np.unravel_index(products.argmax(), products.shape)

    ((answer,),) = (one.answers for one in ask(text_target, CONTEXT))

    found = CONTEXT.split()
    assert CONTEXT[answer.start : answer.end] == answer.text
    assert answer.text.split() == found[int(first) : int(last) + 1]
    assert answer.score == pytest.approx(products.max(), abs=1e-5)


def test_answers_fall_and_are_no_longer_than_asked(text_target: Target) -> None:
    (one,) = ask(text_target, CONTEXT, top_k=100, max_answer_tokens=2)

    scores = [answer.score for answer in one.answers]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 5 + 4
    assert max(len(answer.text.split()) for answer in one.answers) == 2


def test_no_answer_scores_as_the_first_token_does(text_target: Target, text_kinds: Path) -> None:
    start, end = probabilities(text_kinds)

    (one,) = ask(text_target, CONTEXT, top_k=100, handle_impossible=True)

    (none,) = [answer for answer in one.answers if not answer.text]
    assert none.score == pytest.approx(start[0] * end[0], abs=1e-5)
    assert (none.start, none.end) == (0, 0)


def test_long_context_is_read_in_windows_that_overlap(text_target: Target) -> None:
    (one,) = ask(text_target, LONG, stride=5, top_k=3)

    # 32 tokens less a question of two words and three special tokens; 22 new words each time.
    assert one.num_windows == 5
    assert one.num_tokens == 5 * 5 + 100 + 4 * 5
    for answer in one.answers:
        assert LONG[answer.start : answer.end] == answer.text


def test_answers_of_several_contexts_are_those_of_each_alone(text_target: Target) -> None:
    together = ask(text_target, CONTEXT, LONG, "")

    assert len(together) == 3
    assert not together[2].answers
    for context, expected in zip((CONTEXT, LONG), together, strict=False):
        (single,) = ask(text_target, context)
        assert single.answers[0].text == expected.answers[0].text
        assert single.answers[0].score == pytest.approx(expected.answers[0].score, abs=1e-5)


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"contexts": []}, "contexts is empty"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_k": 101}, "at most 100"),
        ({"max_answer_tokens": 0}, "max_answer_tokens is 0"),
        ({"question": "a " * 40}, "question leaves no room for contexts[0]"),
        ({"stride": 28}, "room for 28 tokens of contexts[0]"),
        ({"contexts": [LONG], "stride": 27}, "windows needed for contexts[0]: 73"),
        ({"contexts": [LONG, LONG, LONG], "stride": 15}, "for contexts[2]: 7"),
        ({"contexts": [LONG, LONG, "b", "b", "b"], "stride": 15}, "for contexts[4]: 1"),
    ],
)
def test_bad_question_says_what_to_change(
    text_target: Target, fields: dict[str, Any], hint: str
) -> None:
    request = {"model": "reader", "question": "a", "contexts": ["b"]} | fields

    code, message = refused(text_target, "AnswerQuestion", pb.AnswerQuestionRequest(**request))

    assert code == "INVALID_ARGUMENT"
    assert hint in message


MASK = words()[MASK_ID]
MASKED = f"wörd {MASK} word3 {MASK}"


def fill(target: Target, *texts: str, **options: Any) -> list[pb.FilledText]:
    request = pb.FillMaskRequest(model="filler", texts=texts, **options)
    return list(call(target, "FillMask", request).texts)


def test_candidates_are_the_likeliest_tokens_of_each_mask(
    text_target: Target, text_kinds: Path
) -> None:
    (filled,) = fill(text_target, MASKED, top_k=3)

    # One answer for every mask of the run: `alone` takes the first of an axis of sequences.
    scores = softmax(alone(text_kinds / "filler/1", MASKED)["logits"])
    best = np.argsort(-scores)[:3]
    candidates = filled.masks[0].candidates
    assert [one.id for one in candidates] == best.tolist()
    assert [one.piece for one in candidates] == [words()[token] for token in best]
    np.testing.assert_allclose([one.score for one in candidates], scores[best], atol=1e-5)


def test_masks_know_their_characters(text_target: Target) -> None:
    (filled,) = fill(text_target, MASKED)

    assert [MASKED[one.start : one.end] for one in filled.masks] == [MASK, MASK]
    assert [len(one.candidates) for one in filled.masks] == [5, 5]


def test_targets_are_the_only_candidates_and_score_among_all(text_target: Target) -> None:
    (filled,) = fill(text_target, MASKED, targets=["word9", "word8", "word9"])
    (whole,) = fill(text_target, MASKED, top_k=100)

    found = {one.piece: one.score for one in filled.masks[0].candidates}
    everything = {one.piece: one.score for one in whole.masks[0].candidates}
    assert sorted(found) == ["word8", "word9"]
    assert found["word8"] == pytest.approx(everything["word8"], abs=1e-6)


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"texts": []}, "texts is empty"),
        ({"texts": [MASK, "word1"]}, f"texts[1] has no mask; write {MASK}"),
        (
            {"texts": ["word1 " * 40 + MASK], "truncation": pb.TRUNCATION_KEEP_START},
            "no mask in what was kept",
        ),
        ({"texts": [MASK], "top_k": 0}, "top_k is 0"),
        ({"texts": [MASK], "top_k": 1001}, "at most 1000"),
        ({"texts": [" ".join([MASK] * 21)], "top_k": 1000}, "up to 21000 candidates"),
        ({"texts": [MASK], "targets": ["word1", "nothing"]}, "targets[1] is not one token"),
        ({"texts": [MASK], "targets": ["word1 word2"]}, "targets[0] is not one token"),
    ],
)
def test_bad_mask_says_what_to_change(
    text_target: Target, fields: dict[str, Any], hint: str
) -> None:
    code, message = refused(text_target, "FillMask", pb.FillMaskRequest(model="filler", **fields))

    assert code == "INVALID_ARGUMENT"
    assert hint in message


def test_long_calls_are_read_as_short_ones_are(text_target: Target) -> None:
    many = fill(text_target, *[" ".join([MASK] * 30)] * 16, top_k=40)
    (one,) = fill(text_target, " ".join([MASK] * 30), top_k=2)

    for mask, expected in zip(many[-1].masks, one.masks, strict=True):
        assert [each.id for each in mask.candidates[:2]] == [
            each.id for each in expected.candidates
        ]
