"""Reading evaluation files: every shape, and errors that name file, line and field."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.errors import EvalFileInvalid
from export.quality.examples import (
    MIN_EXAMPLES,
    SHAPES,
    LabelledText,
    LabelSetText,
    MaskedText,
    Question,
    Ranking,
    ScoredPair,
    ScoredText,
    TaggedWords,
    read,
)
from export.quality.labels import class_indices, label_sets, tag_names

PAIR = {"text_a": "a cat", "text_b": "a dog", "score": 2.5}
RANKING = {"query": "pets", "documents": ["cats", "cars"], "relevance": [1, 0]}
LABELLED = {"text": "good", "label": "positive"}
LABEL_SET = {"text": "wet and cold", "labels": ["wet", "cold"]}
VALUE = {"text": "good", "score": 4}
TAGGED = {"tokens": ["Paris", "sleeps"], "tags": ["B-LOC", "O"]}
QUESTION = {"question": "who?", "context": "she", "answers": ["she"]}
MASKED = {"text": "I [MASK] tea", "answer": "drink"}

GOOD: dict[str, dict[str, Any]] = {
    "embed": PAIR,
    "rerank": RANKING,
    "classify": LABELLED,
    "token-classify": TAGGED,
    "question-answer": QUESTION,
    "fill-mask": MASKED,
}


def write(path: Path, *examples: dict[str, Any], fill: dict[str, Any] | None = None) -> Path:
    """Write the examples, then as many of `fill` (the last one) as a file needs."""
    file = path / "eval.jsonl"
    rest = [fill or examples[-1]] * (MIN_EXAMPLES - len(examples))
    lines = [json.dumps(example, ensure_ascii=False) for example in (*examples, *rest)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("task", "example", "shape"),
    [
        ("embed", PAIR, ScoredPair),
        ("embed", RANKING, Ranking),
        ("sparse-embed", RANKING, Ranking),
        ("rerank", RANKING, Ranking),
        ("rerank", PAIR, ScoredPair),
        ("classify", LABELLED, LabelledText),
        ("classify", LABELLED | {"text_pair": "bad"}, LabelledText),
        ("classify", LABELLED | {"label": 1}, LabelledText),
        ("classify", LABEL_SET, LabelSetText),
        ("classify", VALUE, ScoredText),
        ("token-classify", TAGGED, TaggedWords),
        ("token-classify", TAGGED | {"tags": [3, 0]}, TaggedWords),
        ("question-answer", QUESTION, Question),
        ("question-answer", QUESTION | {"answers": []}, Question),
        ("fill-mask", MASKED, MaskedText),
    ],
)
def test_the_fields_decide_the_shape(
    tmp_path: Path, task: str, example: dict[str, Any], shape: type
) -> None:
    other = example | {"score": 1} if "score" in example else example
    file = read(write(tmp_path, other, fill=example), task)
    assert file.shape is shape
    assert len(file.all_of(shape)) == MIN_EXAMPLES


def test_every_text_task_has_shapes() -> None:
    assert all(SHAPES.values())


def test_a_file_may_have_a_mark_blank_lines_and_carriage_returns(tmp_path: Path) -> None:
    file = tmp_path / "eval.jsonl"
    line = json.dumps(MASKED).encode() + b"\r\n"
    file.write_bytes(b"\xef\xbb\xbf" + line + b"\r\n" + line * MIN_EXAMPLES)
    assert read(file, "fill-mask").lines == (1, *range(3, 3 + MIN_EXAMPLES))


@pytest.mark.parametrize(
    ("task", "bad", "message"),
    [
        ("embed", PAIR | {"score": "high"}, "field 'score': Expected `float`, got `str`"),
        ("embed", PAIR | {"text_a": ""}, "field 'text_a': Expected `str` of length >= 1"),
        ("embed", {"text_a": "a", "score": 1}, "missing required field `text_b`"),
        ("embed", PAIR | {"label": 1}, "contains unknown field `label`"),
        ("embed", PAIR | {"score": None}, "field 'score': Expected `float`, got `null`"),
        ("rerank", RANKING | {"relevance": [1]}, "'documents' and 'relevance' have 2 and 1"),
        ("rerank", RANKING | {"relevance": [1, -1]}, "field 'relevance[1]': Expected"),
        ("rerank", RANKING | {"relevance": [1, 1]}, "'relevance' must hold at least two"),
        ("rerank", RANKING | {"documents": [], "relevance": []}, "at least two different"),
        ("classify", LABELLED | {"label": 1.5}, "field 'label': Expected `int | str`"),
        ("classify", LABELLED | {"label": -1}, "field 'label': Expected `int` >= 0"),
        ("classify", LABELLED | {"label": True}, "field 'label': Expected `int | str`"),
        ("token-classify", TAGGED | {"tags": ["O"]}, "'tokens' and 'tags' have 2 and 1"),
        ("token-classify", {"tokens": [], "tags": []}, "'tokens' is empty"),
        ("question-answer", QUESTION | {"answers": "she"}, "'answers': Expected `array`"),
        ("fill-mask", MASKED | {"text": "no place"}, "'text' must hold [MASK] once, not 0 times"),
        ("fill-mask", MASKED | {"text": "[MASK] [MASK]"}, "not 2 times"),
    ],
)
def test_an_error_names_file_line_and_field(
    tmp_path: Path, task: str, bad: dict[str, Any], message: str
) -> None:
    file = write(tmp_path, GOOD[task], GOOD[task], bad, fill=GOOD[task])
    with pytest.raises(EvalFileInvalid) as caught:
        read(file, task)
    assert str(caught.value).startswith(f"{file}, line 3: ")
    assert message in str(caught.value)


def test_labels_are_not_repeated(tmp_path: Path) -> None:
    file = write(tmp_path, LABEL_SET | {"labels": ["wet", "wet"]})
    with pytest.raises(EvalFileInvalid, match="line 1: field 'labels' repeats"):
        read(file, "classify")


def test_a_first_line_of_no_shape_is_told_the_shapes(tmp_path: Path) -> None:
    file = write(tmp_path, {"sentence1": "a", "sentence2": "b", "score": 1})
    with pytest.raises(EvalFileInvalid) as caught:
        read(file, "embed")
    assert "line 1: fields sentence1, sentence2, score are not those of embed" in str(caught.value)
    assert "{text_a, text_b, score} or {query, documents, relevance}" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"[1]", "Expected `object`"),
        (b"{", "truncated"),
        (b"not json", "malformed"),
        (b'{"text": "\xff [MASK]", "answer": "a"}', "utf"),
        (b'{"text": "[MASK]", "answer": NaN}', "malformed"),
    ],
)
@pytest.mark.parametrize("place", [1, 4])
def test_what_is_not_json_is_refused(tmp_path: Path, line: bytes, message: str, place: int) -> None:
    file = tmp_path / "eval.jsonl"
    lines = [json.dumps(MASKED).encode()] * MIN_EXAMPLES
    lines.insert(place - 1, line)
    file.write_bytes(b"\n".join(lines))
    with pytest.raises(EvalFileInvalid, match=f"(?i)line {place}: .*{message}"):
        read(file, "fill-mask")


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvalFileInvalid, match="'score' is the same on every line"):
        read(write(tmp_path, PAIR), "embed")
    with pytest.raises(EvalFileInvalid, match="'labels' is empty on every line"):
        read(write(tmp_path, LABEL_SET | {"labels": []}), "classify")
    with pytest.raises(EvalFileInvalid, match="no measure for task detect; there is for embed,"):
        read(write(tmp_path, PAIR), "detect")


def test_a_file_too_small_or_missing_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "eval.jsonl"
    with pytest.raises(EvalFileInvalid, match=r"cannot be read \(No such file"):
        read(file, "embed")
    file.write_text(json.dumps(PAIR))
    with pytest.raises(EvalFileInvalid, match="1 examples, at least 10 are needed"):
        read(file, "embed")


def test_labels_are_read_by_name_or_index(tmp_path: Path) -> None:
    names = ("negative", "positive")
    file = read(write(tmp_path, LABELLED, LABELLED | {"label": 0}), "classify")
    assert class_indices(file, names)[:2].tolist() == [1, 0]
    file = read(write(tmp_path, LABEL_SET, LABEL_SET | {"labels": [2]}), "classify")
    sets = label_sets(file, ("wet", "dry", "cold"))
    assert sets[:2].tolist() == [[True, False, True], [False, False, True]]
    assert sets.dtype == np.bool_
    file = read(write(tmp_path, TAGGED, TAGGED | {"tags": [1, 1]}), "token-classify")
    assert tag_names(file, ("O", "B-LOC"))[:2] == (("B-LOC", "O"), ("B-LOC", "B-LOC"))


def test_a_label_of_another_model_is_refused_by_line(tmp_path: Path) -> None:
    file = read(write(tmp_path, LABELLED, LABELLED | {"label": "neutral"}), "classify")
    with pytest.raises(EvalFileInvalid, match="line 2: field 'label': the model has no 'neutral'"):
        class_indices(file, ("negative", "positive"))
    file = read(write(tmp_path, LABEL_SET, LABEL_SET | {"labels": [2]}), "classify")
    with pytest.raises(EvalFileInvalid, match="line 2: field 'labels': the model has no 2"):
        label_sets(file, ("wet", "cold"))
    file = read(write(tmp_path, TAGGED), "token-classify")
    with pytest.raises(EvalFileInvalid, match="no 'B-LOC', only 0, 1, 2, 3, 4, 5, 6, 7 and 12 mo"):
        tag_names(file, [str(index) for index in range(20)])
