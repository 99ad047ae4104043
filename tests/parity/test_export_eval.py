"""Evaluation files through PyTorch and a real bundle, against what transformers says alone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import WORDS
from evaluations import (
    CLASSES,
    EXAMPLES,
    MAX_TOKENS,
    PIECES,
    TAGS,
    Example,
    Exported,
    Values,
    answer_by_hand,
    export_tiny,
    sentences,
    with_noise,
    write,
)
from scipy.stats import spearmanr  # type: ignore[import-untyped]
from sklearn.metrics import f1_score  # type: ignore[import-untyped]
from transformers import (
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
)

from export.errors import ExportFailed, ParityBroken
from export.evaluation import unlabelled
from export.evaluation.prepared import compare, prepare
from export.proof.batches import TokenIds
from export.proof.case import Case
from export.quality import examples
from server.repository.manifest import Quality, Task

Export = Callable[..., Exported]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Export every tiny checkpoint that a test asks for once."""
    known: dict[str, Exported] = {}

    def build(task: Task, model_class: Any, **settings: Any) -> Exported:
        key = f"{task} {model_class} {settings}"
        if key not in known:
            root = tmp_path_factory.mktemp(task)
            known[key] = export_tiny(root, task, model_class, settings)
        return known[key]

    return build


def require_same(found: Quality, expected: float, count: int = EXAMPLES) -> None:
    """In FP32 the bundle decides as PyTorch does, so its column and the interval are known."""
    assert found.reference == pytest.approx(expected, abs=1e-6)
    assert found.bundle == pytest.approx(expected, abs=1e-6)
    assert found.low == pytest.approx(0, abs=1e-6)
    assert found.high == pytest.approx(0, abs=1e-6)
    assert found.count == count


def mean_vector(exported: Exported, text: str) -> Values:
    vector: Values = exported.logits(text)["last_hidden_state"].mean(axis=0)
    return vector / np.linalg.norm(vector)


def test_pairs_are_measured_by_the_cosine_of_their_embeddings(
    export: Export, tmp_path: Path
) -> None:
    exported = export("embed", BertModel)
    left, right = sentences(1), sentences(2)
    scores = np.random.default_rng(3).normal(size=EXAMPLES).round(2)
    rows = [
        {"text_a": a, "text_b": b, "score": s} for a, b, s in zip(left, right, scores, strict=True)
    ]
    found = exported.measure("embed", write(tmp_path, rows))
    cosines = [
        mean_vector(exported, a) @ mean_vector(exported, b)
        for a, b in zip(left, right, strict=True)
    ]
    require_same(found["Spearman"], spearmanr(scores, cosines).statistic)


def test_the_bundle_column_is_what_the_session_answers(export: Export, tmp_path: Path) -> None:
    exported = export("embed", BertModel)
    other = with_noise(exported, tmp_path)
    left, right = sentences(1), sentences(2)
    rows = [
        {"text_a": a, "text_b": b, "score": i}
        for i, (a, b) in enumerate(zip(left, right, strict=True))
    ]
    file = write(tmp_path, rows)
    (found,) = compare(exported.prepare("embed", file), other)
    assert found.reference == exported.measure("embed", file)["Spearman"].reference

    def vector(text: str) -> Values:
        ids = np.array([exported.tokenizer(text)["input_ids"]])
        places = np.arange(ids.size)[None]
        feeds = {"input_ids": ids, "segment_ids": np.ones_like(ids), "position_ids": places}
        answer: Values = other.run(feeds)[0][0]
        return answer / np.linalg.norm(answer)

    cosines = [vector(a) @ vector(b) for a, b in zip(left, right, strict=True)]
    assert found.bundle == pytest.approx(spearmanr(range(EXAMPLES), cosines).statistic)
    assert found.reference is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.bundle - found.reference < found.high


def test_every_text_is_asked_once_and_long_ones_are_noted(export: Export, tmp_path: Path) -> None:
    exported = export("embed", BertModel)
    documents = [*sentences(4, 3), " ".join(["word1"] * 200)]
    queries = sentences(5)
    rows = [{"query": text, "documents": documents, "relevance": [0, 1, 0, 0]} for text in queries]
    file = write(tmp_path, rows)
    prepared = exported.prepare("embed", file)
    assert len(prepared.feeds) == EXAMPLES + len(documents)
    assert prepared.notes == ("1 of the 20 texts of eval.jsonl were cut to 64 tokens",)
    found = exported.measure("embed", file)
    # The long one as the model sees it.
    seen = [*documents[:3], " ".join(["word1"] * (MAX_TOKENS - 2))]
    ranks = []
    for query in queries:
        scores = [mean_vector(exported, query) @ mean_vector(exported, text) for text in seen]
        ranks.append(1 + sum(score > scores[1] for score in scores))
    require_same(found["MRR"], float(np.mean([1 / rank for rank in ranks])))
    assert "nDCG@10" in found


def test_sparse_embeddings_are_measured_by_their_product(export: Export, tmp_path: Path) -> None:
    exported = export("sparse-embed", BertForMaskedLM)
    left, right = sentences(1), sentences(2)
    rows = [
        {"text_a": a, "text_b": b, "score": i}
        for i, (a, b) in enumerate(zip(left, right, strict=True))
    ]

    def weights(text: str) -> Values:
        logits = exported.logits(text)["logits"]
        answer: Values = np.log1p(np.maximum(logits, 0)).max(axis=0)
        return answer

    products = [weights(a) @ weights(b) for a, b in zip(left, right, strict=True)]
    found = exported.measure("sparse-embed", write(tmp_path, rows))
    require_same(found["Spearman"], spearmanr(range(EXAMPLES), products).statistic)


def test_rerankers_order_documents_by_their_score(export: Export, tmp_path: Path) -> None:
    exported = export("rerank", BertForSequenceClassification, num_labels=1)
    queries, documents = sentences(6), sentences(7, 4)
    rows = [{"query": text, "documents": documents, "relevance": [1, 0, 0, 0]} for text in queries]
    found = exported.measure("rerank", write(tmp_path, rows))
    ranks = []
    for query in queries:
        scores = [exported.logits(query, document)["logits"][0] for document in documents]
        ranks.append(1 + sum(score > scores[0] for score in scores))
    require_same(found["MRR"], float(np.mean([1 / rank for rank in ranks])))


def test_classes_are_measured_by_accuracy_and_f1(export: Export, tmp_path: Path) -> None:
    names = CLASSES
    exported = export("classify", BertForSequenceClassification, id2label=names)
    texts, pairs = sentences(8), sentences(9)
    labels = [names[number % 3] for number in range(EXAMPLES)]
    # Every other example has two texts.
    rows: list[Example] = [
        {"text": text, "label": label} for text, label in zip(texts, labels, strict=True)
    ]
    for row, pair in zip(rows[::2], pairs[::2], strict=True):
        row["text_pair"] = pair
    found = exported.measure("classify", write(tmp_path, rows))
    said = [
        names[int(exported.logits(*[row[name] for name in ("text", "text_pair") if name in row])
                  ["logits"].argmax())]
        for row in rows
    ]  # fmt: skip
    assert len(set(said)) > 1
    require_same(found["accuracy"], float(np.mean(np.array(said) == labels)))
    require_same(found["F1 macro"], f1_score(labels, said, average="macro"))


@pytest.mark.thorough
def test_label_sets_are_measured_by_f1(export: Export, tmp_path: Path) -> None:
    exported = export(
        "classify",
        BertForSequenceClassification,
        num_labels=3,
        problem_type="multi_label_classification",
    )
    texts = sentences(10)
    gold = np.random.default_rng(11).integers(2, size=(EXAMPLES, 3)).astype(bool)
    rows = [
        {"text": text, "labels": [int(i) for i in np.flatnonzero(row)]}
        for text, row in zip(texts, gold, strict=True)
    ]
    said = np.stack([exported.logits(text)["logits"] > 0 for text in texts])
    found = exported.measure("classify", write(tmp_path, rows))
    require_same(found["F1 micro"], f1_score(gold, said, average="micro"))


def test_the_first_token_of_a_word_carries_its_tag(export: Export, tmp_path: Path) -> None:
    exported = export("token-classify", BertForTokenClassification, id2label=dict(enumerate(TAGS)))
    texts = [text.split() for text in sentences(13)]
    draw = np.random.default_rng(14)
    rows = [{"tokens": words, "tags": [str(draw.choice(TAGS)) for _ in words]} for words in texts]
    found = exported.measure("token-classify", write(tmp_path, rows))
    right = []
    for row in rows:
        encoded = exported.tokenizer(row["tokens"], is_split_into_words=True)
        places = [encoded.word_ids().index(index) for index in range(len(row["tokens"]))]
        logits = exported.logits(row["tokens"], is_split_into_words=True)["logits"]
        said = [TAGS[tag] for tag in logits[places].argmax(axis=-1)]
        right += [tag == true for tag, true in zip(said, row["tags"], strict=True)]
    assert found["tag accuracy"].reference == pytest.approx(float(np.mean(right)))
    assert found["tag accuracy"].bundle == found["tag accuracy"].reference
    assert "entity F1" in found


def test_questions_are_answered_by_the_best_span_of_all_windows(
    export: Export, tmp_path: Path
) -> None:
    exported = export("question-answer", BertForQuestionAnswering)
    draw = np.random.default_rng(15)
    # Plain words, so that the stride is known; contexts of one to four windows.
    asked = [
        (
            " ".join(draw.choice(WORDS[:-3], 5)),
            " ".join(draw.choice(WORDS[:-3], int(draw.integers(20, 150)))),
        )
        for _ in range(EXAMPLES)
    ]
    by_hand = [answer_by_hand(exported, *pair)[0] for pair in asked]
    rows = [
        {"question": question, "context": context, "answers": ["nonsense", text][: 1 + i % 2]}
        for i, ((question, context), text) in enumerate(zip(asked, by_hand, strict=True))
    ]
    file = write(tmp_path, rows)
    assert len(exported.prepare("question-answer", file).feeds) > EXAMPLES
    require_same(exported.measure("question-answer", file)["exact match"], 0.5)


def test_no_answer_is_given_only_where_a_file_allows_it(export: Export, tmp_path: Path) -> None:
    exported = export("question-answer", BertForQuestionAnswering)
    draw = np.random.default_rng(16)
    asked = [
        (" ".join(draw.choice(WORDS[:-3], 5)), " ".join(draw.choice(WORDS[:-3], 4)))
        for _ in range(4 * EXAMPLES)
    ]
    by_hand = [answer_by_hand(exported, *pair) for pair in asked]
    declined = [declines for _, declines in by_hand]
    assert 0 < sum(declined) < len(declined)

    def exact(answers: Sequence[list[str]]) -> Quality:
        rows = [
            {"question": question, "context": context, "answers": accepted}
            for (question, context), accepted in zip(asked, answers, strict=True)
        ]
        return exported.measure("question-answer", write(tmp_path, rows))["exact match"]

    # All answered: the best span whatever the first token says.
    require_same(exact([[text] for text, _ in by_hand]), 1, len(asked))
    # Some without: right where none was better, wrong where one was and is expected.
    require_same(exact([[] if no else [text] for text, no in by_hand]), 1, len(asked))
    share = float(np.mean(declined))
    require_same(exact([[] for _ in by_hand]), share, len(asked))


def test_masks_are_filled_with_the_five_best_tokens(export: Export, tmp_path: Path) -> None:
    exported = export("fill-mask", BertForMaskedLM)
    rows: list[Example] = []
    for i, text in enumerate(sentences(17)):
        words = text.split()
        words[1] = "[MASK]"
        asked = " ".join(words)
        ids = exported.tokenizer(asked.replace("[MASK]", WORDS[-1]))["input_ids"]
        place = ids.index(PIECES.index(WORDS[-1]))
        logits = exported.logits(asked.replace("[MASK]", WORDS[-1]))["logits"][place]
        # The best, the third, or the sixth in turn.
        token = PIECES[int(np.argsort(-logits)[(0, 2, 5)[i % 3]])]
        rows.append({"text": asked, "answer": token})
    found = exported.measure("fill-mask", write(tmp_path, rows))
    require_same(found["top-1 accuracy"], 6 / 16)
    require_same(found["top-5 accuracy"], 11 / 16)


def test_examples_of_another_kind_than_the_labels_are_refused(
    export: Export, tmp_path: Path
) -> None:
    exported = export("classify", BertForSequenceClassification, id2label=CLASSES)
    file = write(tmp_path, [{"text": "word1", "score": i} for i in range(EXAMPLES)])
    with pytest.raises(ExportFailed, match=r"'score', but .* single, .* field 'label'"):
        exported.prepare("classify", file)


def test_tasks_without_an_evaluation_are_refused_with_those_that_have_one(
    export: Export, tmp_path: Path
) -> None:
    exported = export("embed", BertModel)
    file = write(tmp_path, [{"text": "word1", "label": i % 2} for i in range(EXAMPLES)])
    with pytest.raises(ExportFailed, match=r"image-classify; there is for embed, .*, fill-mask"):
        exported.prepare("image-classify", file)
    read = examples.read(file, "classify")
    with pytest.raises(ExportFailed, match=r"image-classify has no evaluation; embed, .* have one"):
        prepare(read, "image-classify", exported.kind, exported.bundle)


def spoilt(samples: Sequence[Case]) -> tuple[Case, ...]:
    """PyTorch's answers of which one number is not a number."""
    first = {name: values.copy() for name, values in samples[0].expected.items()}
    next(iter(first.values())).flat[0] = np.nan
    return (Case(samples[0].name, samples[0].feeds, first), *samples[1:])


def test_embeddings_agree_with_pytorch_and_not_with_other_weights(
    export: Export, tmp_path: Path
) -> None:
    exported = export("embed", BertModel)
    ids = [np.array(exported.tokenizer(text)["input_ids"]) for text in sentences(18, 20)]
    samples = exported.kind.ask(TokenIds(one, None) for one in ids)
    found = {q.measure: q for q in unlabelled.agreement(samples, exported.session)}
    assert list(found) == ["mean cosine", "worst cosine", "rank correlation of similarities"]
    assert {quality.reference for quality in found.values()} == {None}
    assert {quality.count for quality in found.values()} == {20}
    assert [quality.bundle for quality in found.values()] == pytest.approx([1, 1, 1], abs=1e-4)
    assert unlabelled.loss(samples, exported.session) == pytest.approx(0, abs=1e-6)
    other = with_noise(exported, tmp_path)
    vectors = np.concatenate([case.expected["sentence_embedding"] for case in samples])
    others = np.concatenate([other.run(case.feeds)[0] for case in samples])
    cosines = np.einsum("ij,ij->i", vectors, others)
    cosines /= np.linalg.norm(vectors, axis=1) * np.linalg.norm(others, axis=1)
    assert unlabelled.loss(samples, other) == pytest.approx(1 - float(cosines.mean()), abs=1e-6)
    found = {q.measure: q for q in unlabelled.agreement(samples, other)}
    assert found["worst cosine"].bundle == pytest.approx(float(cosines.min()), abs=1e-6)
    with pytest.raises(ParityBroken, match="PyTorch answers NaN or infinity to built-in text 1"):
        unlabelled.agreement(spoilt(samples), exported.session)
    assert unlabelled.agreement((), exported.session) == ()


@pytest.mark.thorough  # an export for each task
@pytest.mark.parametrize(
    ("task", "model_class", "settings", "measures"),
    [
        ("sparse-embed", BertForMaskedLM, {}, ["mean cosine", "worst cosine"]),
        (
            "rerank",
            BertForSequenceClassification,
            {"num_labels": 1},
            ["rank correlation of logits", "correlation of logits"],
        ),
        (
            "classify",
            BertForSequenceClassification,
            {"num_labels": 3, "problem_type": "multi_label_classification"},
            ["same decision", "correlation of logits"],
        ),
        (
            "token-classify",
            BertForTokenClassification,
            {"id2label": dict(enumerate(TAGS))},
            ["same decision", "correlation of logits"],
        ),
        (
            "question-answer",
            BertForQuestionAnswering,
            {},
            ["same start", "correlation of start_logits", "same end", "correlation of end_logits"],
        ),
        ("fill-mask", BertForMaskedLM, {}, ["same decision", "correlation of logits"]),
    ],
)
def test_a_faithful_bundle_agrees_with_pytorch_on_built_in_texts(
    export: Export, task: Task, model_class: Any, settings: Any, measures: list[str]
) -> None:
    exported = export(task, model_class, **settings)
    samples = exported.kind.samples(12)
    labels = exported.kind.interface.labels
    found = {q.measure: q for q in unlabelled.agreement(samples, exported.session, labels)}
    assert list(found)[: len(measures)] == measures
    assert all(quality.bundle == pytest.approx(1, abs=1e-5) for quality in found.values())
    if task == "token-classify":
        tokens = sum(case.feeds["input_ids"].size for case in samples)
        assert found["same decision"].count == tokens
    assert unlabelled.loss(samples, exported.session) == pytest.approx(0, abs=1e-6)
