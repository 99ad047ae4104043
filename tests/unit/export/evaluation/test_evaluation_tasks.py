"""From answers to what the measures read: spans, scores, values, candidates."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer as NativeTokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace

from export.errors import CheckpointUnsupported, EvalFileInvalid
from export.evaluation.candidates import MaskCandidates
from export.evaluation.classes import Classes
from export.evaluation.evaluation import Subject
from export.evaluation.relevance import Relevance
from export.evaluation.similarity import SparseSimilarity
from export.evaluation.spans import MAX_ANSWER_TOKENS, Spans, best_span
from export.evaluation.tags import WordTags
from export.evaluation.tokenizer import Tokenizer
from export.quality.examples import EvalFile, read
from server.repository.manifest import Labels
from server.text.scores import relevance

PIECES = ("[UNK]", "[MASK]", "paris", "is", "big", "old", "far", "near", "rome", "red")
MAX_TOKENS = 8


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    native = NativeTokenizer(WordLevel({p: i for i, p in enumerate(PIECES)}, PIECES[0]))
    native.normalizer = Lowercase()
    native.pre_tokenizer = Whitespace()
    native.add_special_tokens(["[MASK]", "[UNK]"])
    native.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer(tmp_path / "tokenizer.json", MAX_TOKENS, has_types=False)
    return Subject(tokenizer, mask_id=1)


def read_as(task: str, path: Path, rows: Sequence[dict[str, Any]]) -> EvalFile:
    (path / "eval.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return read(path / "eval.jsonl", task)


@pytest.mark.parametrize("tokens", [1, 2, 29, 30, 31, 100])
def test_the_best_span_is_that_of_a_search_through_all(tokens: int) -> None:
    draw = np.random.default_rng(tokens)
    for _ in range(5):
        start, end = draw.normal(size=(2, tokens)).astype(np.float32)
        best = max(
            (float(start[first]) + float(end[last]), -first, -last)
            for first in range(tokens)
            for last in range(first, min(first + MAX_ANSWER_TOKENS, tokens))
        )
        span = best_span(start, end)
        assert (span.score, -span.first, -span.last) == best


def test_a_span_ends_where_it_starts_or_later_and_is_not_too_long() -> None:
    start, end = np.zeros((2, 50), np.float32)
    start[10], end[9] = 5, 9
    assert best_span(start, end).first <= best_span(start, end).last
    start[:], end[:] = 0, 0
    start[0], end[30] = 5, 5
    assert (best_span(start, end).score, best_span(start, end).first) == (5, 0)
    end[29] = 4
    assert best_span(start, end).score == 9


def answer(start: Sequence[float], end: Sequence[float]) -> dict[str, Any]:
    return {
        "start_logits": np.array([start], np.float32),
        "end_logits": np.array([end], np.float32),
    }


def test_the_best_window_answers_unless_every_window_declines(
    subject: Subject, tmp_path: Path
) -> None:
    row = {"question": "is far", "context": "Paris is big old red near rome", "answers": ["x"]}
    file = read_as("question-answer", tmp_path, [*[row] * 9, {**row, "answers": [""]}])
    spans = Spans.of(file, subject)
    # Room for six tokens of seven, of which neighbours share three.
    assert [len(window.offsets) for window in spans.windows[:2]] == [6, 4]
    assert spans.may_decline
    # "is" behind the question of the first window, "near rome" of the second.
    first = answer([1, 0, 0, 2, 0, 0, 0, 0], [1, 0, 0, 2, 0, 0, 0, 0])
    second = answer([9, 0, 0, 0, 3, 0], [9, 0, 0, 0, 0, 3])
    refusing = answer([9, 0, 0, 2, 0, 0, 0, 0], [9, 0, 0, 2, 0, 0, 0, 0])
    found = spans.read([first, second] * 8 + [refusing, second] * 2)
    assert found == ["near rome"] * 8 + [""] * 2
    answered = read_as("question-answer", tmp_path, [row] * 10)
    assert Spans.of(answered, subject).read([refusing, second] * 10) == ["near rome"] * 10


def test_a_context_without_tokens_has_no_answer(subject: Subject, tmp_path: Path) -> None:
    row = {"question": "is far", "context": " ", "answers": ["x"]}
    spans = Spans.of(read_as("question-answer", tmp_path, [row] * 10), subject)
    assert spans.read([answer([0, 0], [0, 0])] * 10) == [""] * 10


def test_relevance_is_the_one_score_or_the_probability_of_the_last_label() -> None:
    assert relevance(np.array([-3.5]), "multi") == -3.5
    assert relevance(np.array([1.0, 3.0]), "single") == pytest.approx(np.log(1 / (1 + np.exp(-2))))
    # A large logit for both is no relevance.
    assert relevance(np.array([9.0, 8.0]), "single") < relevance(np.array([0.0, 1.0]), "single")
    assert relevance(np.array([9.0, 8.0]), "regression") == 8


def test_scores_go_back_to_the_documents_they_belong_to(subject: Subject, tmp_path: Path) -> None:
    rows = [
        {"query": "paris", "documents": ["big", "old", "red"], "relevance": [0, 1, 0]},
        {"query": "paris", "documents": ["red", "big"], "relevance": [0, 1]},
    ] * 5
    file = read_as("rerank", tmp_path, rows)
    labels = Labels(("no", "yes"), "single")
    found = Relevance.of(file, Subject(subject.tokenizer, labels))
    assert len(found.inputs) == 3
    assert found.notes == ("relevance was measured by the last label, 'yes'",)
    logits = [{"logits": np.array([[0, score]], np.float32)} for score in (1, 2, 3)]
    scores = found.read(logits)
    assert [row.argsort().tolist() for row in scores[:2]] == [[0, 1, 2], [1, 0]]
    assert scores[1][0] == scores[0][2]


def test_sparse_vectors_are_multiplied_where_both_have_weights(
    subject: Subject, tmp_path: Path
) -> None:
    rows = [{"text_a": "paris", "text_b": word, "score": i} for i, word in enumerate(PIECES[2:])]
    file = read_as("sparse-embed", tmp_path, [*rows, *rows])
    found = SparseSimilarity.of(file, subject)
    draw = np.random.default_rng(1)
    vectors = np.maximum(draw.normal(size=(len(found.inputs), 20)), 0).astype(np.float32)
    vectors[3] = 0
    scores = found.read([{"sparse_embedding": vector[None]} for vector in vectors])
    expected = [vectors[0] @ vectors[index] for index in range(8)]
    np.testing.assert_allclose(np.concatenate(scores[:8]), expected, rtol=1e-6)


def test_values_are_measured_by_order_and_error(subject: Subject, tmp_path: Path) -> None:
    rows = [{"text": word, "score": i} for i, word in enumerate([*PIECES, "x y"])]
    file = read_as("classify", tmp_path, rows)
    found = Classes.of(file, Subject(subject.tokenizer, Labels(("stars",), "regression")))
    # Another text each, except that "[UNK]" and unknown words are told apart as texts.
    assert len(found.inputs) == 11
    perfect = [{"logits": np.array([[float(i)]], np.float32)} for i in range(11)]
    worse = [{"logits": np.array([[10.0 - i]], np.float32)} for i in range(11)]
    order, error = found.compare(found.read(perfect), found.read(worse))
    assert (order.measure, order.reference, order.bundle) == ("Spearman", 1, -1)
    assert (error.measure, error.reference) == ("RMSE", 0)
    assert error.bundle == pytest.approx(np.sqrt(np.mean((10 - 2 * np.arange(11)) ** 2)))


def test_one_value_cannot_measure_several(subject: Subject, tmp_path: Path) -> None:
    rows = [{"text": word, "score": i} for i, word in enumerate(PIECES)]
    file = read_as("classify", tmp_path, rows)
    with pytest.raises(EvalFileInvalid, match="is one value, the model predicts 2"):
        Classes.of(file, Subject(subject.tokenizer, Labels(("a", "b"), "regression")))


def test_candidates_are_held_against_words_in_the_tokenizers_spelling(
    subject: Subject, tmp_path: Path
) -> None:
    words = ["Paris", "BIG", "tiny", "old red", *["far"] * 6]
    rows = [{"text": f"{i} [MASK] is", "answer": word} for i, word in enumerate(words)]
    file = read_as("fill-mask", tmp_path, rows)
    found = MaskCandidates.of(file, subject)
    # A word that is unknown stays as it is, and so does one of several tokens.
    assert found.gold == ("paris", "big", "tiny", "old red", *["far"] * 6)
    (note,) = found.notes
    assert note.startswith("1 of the 10 words of eval.jsonl are not one token each")
    logits = np.array([[9, 8, 7, 1, 6, 5, 0, 0, 0, 0]], np.float32)
    candidates = found.read([{"logits": logits}] * 10)
    # Special tokens have no text.
    assert candidates[0] == ["", "", "paris", "big", "old"]
    one, five = found.compare(candidates, candidates)
    assert (one.bundle, five.bundle) == (0, 0.2)


def test_a_mask_must_be_alone_and_there_must_be_one(subject: Subject, tmp_path: Path) -> None:
    row = {"text": "paris is [MASK]", "answer": "big"}
    far = {"text": "is is is is is is is is [MASK]", "answer": "big"}
    file = read_as("fill-mask", tmp_path, [*[row] * 9, far])
    with pytest.raises(EvalFileInvalid, match="line 10: field 'text' has 0 masks within the 8"):
        MaskCandidates.of(file, subject)
    with pytest.raises(CheckpointUnsupported, match="no mask token"):
        MaskCandidates.of(file, Subject(subject.tokenizer))


def test_a_text_without_tokens_is_named(subject: Subject, tmp_path: Path) -> None:
    rows = [{"text": word, "score": i} for i, word in enumerate(PIECES)]
    file = read_as("classify", tmp_path, [*rows, {"text": " ", "score": 1}])
    labels = Labels(("stars",), "regression")
    with pytest.raises(EvalFileInvalid, match="line 11: the tokenizer makes no tokens"):
        Classes.of(file, Subject(subject.tokenizer, labels))


TAGGED = {"tokens": ["paris", "is"], "tags": [1, 0]}
QUESTION = {"question": "is far", "context": "rome", "answers": ["rome"]}


@pytest.mark.parametrize(
    "case",
    [
        (
            "token-classify",
            TAGGED,
            {"tokens": ["is"] * 9, "tags": [0] * 9},
            "field 'tokens': 9 tokens, the model takes at most 8; split the sentence",
        ),
        (
            "token-classify",
            TAGGED,
            {"tokens": ["is", " "], "tags": [0, 0]},
            "field 'tokens[1]': the tokenizer makes nothing of ' '",
        ),
        (
            "token-classify",
            TAGGED,
            {"tokens": ["is"], "tags": ["B-LOC"]},
            "field 'tags': the model has no 'B-LOC', only O, B-PER",
        ),
        (
            "question-answer",
            QUESTION,
            {**QUESTION, "question": "is is is is is is is is"},
            "field 'question' leaves no room for the context: the model takes at most 8 tokens",
        ),
    ],
)
def test_an_example_that_the_model_cannot_take_is_named(
    tmp_path: Path, subject: Subject, case: tuple[str, Any, Any, str]
) -> None:
    task, good, bad, reason = case
    file = read_as(task, tmp_path, [good, good, bad, *[good] * 7])
    labels = Labels(("O", "B-PER"), "single")
    build = WordTags.of if task == "token-classify" else Spans.of
    with pytest.raises(EvalFileInvalid) as failed:
        build(file, Subject(subject.tokenizer, labels))
    assert str(failed.value) == f"{file.path}, line 3: {reason}"
