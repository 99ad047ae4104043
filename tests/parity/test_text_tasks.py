"""Typed answers over gRPC against transformers' pipelines on the same checkpoints."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import transformers
from checkpoints import FAMILIES, VOCABULARY
from loopback import Target, serve
from numpy.typing import NDArray
from text_calls import call
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerFast

from export.cli import main
from protos.heed.v1 import text_pb2 as pb

# Definitions of every score are tested without a checkpoint; five exports take their time.
pytestmark = pytest.mark.thorough

TOLERANCE = 2e-5
"""FP32 logits of random weights, as probabilities."""

SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")
BEGINNINGS = tuple(f"{letter}a" for letter in "bcdfghklmnprst")
ENDINGS = tuple(f"##{letter}u" for letter in "bcdfghklmnprst")
TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "tagger": ("AutoModelForTokenClassification", {"id2label": TAGS}),
    "judge": ("AutoModelForSequenceClassification", {"num_labels": 3}),
    "topics": (
        "AutoModelForSequenceClassification",
        {"num_labels": 3, "problem_type": "multi_label_classification"},
    ),
    "filler": ("AutoModelForMaskedLM", {}),
    "reader": ("AutoModelForQuestionAnswering", {}),
}


@dataclass(frozen=True)
class Served:
    """Checkpoints with random weights, in PyTorch and behind the server."""

    root: Path
    target: Target

    def model(self, name: str) -> PreTrainedModel:
        loaded = getattr(transformers, MODELS[name][0]).from_pretrained(self.root / name)
        return cast("PreTrainedModel", loaded.eval())

    def pipeline(self, task: Any, name: str) -> Any:
        return transformers.pipeline(
            task, model=self.model(name), tokenizer=tokenizer(self.root / name), device="cpu"
        )


def tokenizer(directory: Path) -> PreTrainedTokenizerFast:
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "cls", "sep", "unk", "mask")}
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # annotated in part
        tokenizer_file=str(directory / "tokenizer.json"),
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **names,
    )


def save_tokenizer(directory: Path) -> None:
    pieces = [*SPECIAL, *BEGINNINGS, *ENDINGS, ","]
    assert len(pieces) <= VOCABULARY
    ids = {piece: number for number, piece in enumerate(pieces)}
    native = Tokenizer(WordPiece(ids, unk_token="[UNK]"))  # noqa: S106  (a word)
    native.pre_tokenizer = BertPreTokenizer()
    native.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    native.add_special_tokens(list(SPECIAL))
    native.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text('{"mask_token": "[MASK]"}')


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("typed")
    for name, (kind, settings) in MODELS.items():
        torch.manual_seed(11)
        config = AutoConfig.for_model("bert", **FAMILIES["bert"], **settings)
        getattr(transformers, kind).from_config(config).eval().save_pretrained(root / name)
        save_tokenizer(root / name)
        assert main([str(root / name), "--out", str(root / "models"), "--no-measure"]) == 0
    with serve(root / "models") as running:
        yield Served(root, running)


def text(seed: int, num_words: int = 12) -> str:
    """Draw words of one to three pieces, with commas, an unknown word and wide characters."""
    random = np.random.default_rng(seed)
    words = [
        "".join([random.choice(BEGINNINGS), *(one[2:] for one in random.choice(ENDINGS, number))])
        for number in random.integers(0, 3, num_words)
    ]
    words[3], words[5] = "日本", f"{words[5]},"
    return "  ".join(words)


TEXTS = tuple(text(seed) for seed in range(6))


@pytest.mark.parametrize("strategy", ["none", "simple", "first", "average", "max"])
def test_spans_are_those_of_the_pipeline(served: Served, strategy: str) -> None:
    pipeline = served.pipeline("token-classification", "tagger")
    request = pb.TokenClassifyRequest(
        model="tagger", texts=TEXTS, aggregation=f"AGGREGATION_{strategy.upper()}"
    )

    for given, found in zip(
        TEXTS, call(served.target, "TokenClassify", request).texts, strict=True
    ):
        expected = pipeline(given, aggregation_strategy=strategy)
        label = "entity" if strategy == "none" else "entity_group"
        assert [(one.label, one.start, one.end) for one in found.spans] == [
            (one[label], one["start"], one["end"]) for one in expected
        ]
        np.testing.assert_allclose(
            [one.score for one in found.spans], [one["score"] for one in expected], atol=TOLERANCE
        )


@pytest.mark.parametrize("name", ["judge", "topics"])
def test_labels_are_those_of_the_pipeline(served: Served, name: str) -> None:
    pipeline = served.pipeline("text-classification", name)
    pairs = [*zip(TEXTS[:3], TEXTS[3:], strict=True)]
    inputs = [pb.Input(text=first, pair=second) for first, second in pairs]
    inputs.append(pb.Input(text=TEXTS[0]))

    request = pb.ClassifyRequest(model=name, inputs=inputs)
    answer = call(served.target, "Classify", request)

    given = [{"text": first, "text_pair": second} for first, second in pairs]
    given.append({"text": TEXTS[0]})
    for one, found in zip(given, answer.classifications, strict=True):
        expected = pipeline(one, top_k=None)
        assert [label.label for label in found.labels] == [label["label"] for label in expected]
        np.testing.assert_allclose(
            [label.score for label in found.labels],
            [label["score"] for label in expected],
            atol=TOLERANCE,
        )


@pytest.mark.parametrize("targets", [[], ["ba", "##bu", ","]])
def test_candidates_are_those_of_the_pipeline(served: Served, targets: list[str]) -> None:
    pipeline = served.pipeline("fill-mask", "filler")
    texts = [f"{TEXTS[0]} [MASK]", f"[MASK] {TEXTS[1]}, [MASK]"]
    request = pb.FillMaskRequest(model="filler", texts=texts, targets=targets, top_k=3)

    for given, found in zip(texts, call(served.target, "FillMask", request).texts, strict=True):
        expected = pipeline(given, top_k=3, targets=targets or None)
        masks = expected if isinstance(expected[0], list) else [expected]
        for mask, candidates in zip(found.masks, masks, strict=True):
            assert [one.id for one in mask.candidates] == [one["token"] for one in candidates]
            assert [one.text for one in mask.candidates] == [one["token_str"] for one in candidates]
            np.testing.assert_allclose(
                [one.score for one in mask.candidates],
                [one["score"] for one in candidates],
                atol=TOLERANCE,
            )


Probabilities = NDArray[np.float64]


def decode(
    start: Probabilities, end: Probabilities, may_answer: NDArray[np.bool_], longest: int
) -> tuple[int, int, float, float]:
    """Return first, last and score of the best answer and the score of none.

    As `select_starts_ends` of transformers 4, whose pipeline transformers 5 no longer has.
    """
    allowed = may_answer | (np.arange(len(start)) == 0)
    start, end = (np.where(allowed, logits, -10000.0) for logits in (start, end))
    start, end = (np.exp(logits - logits.max()) for logits in (start, end))
    start, end = start / start.sum(), end / end.sum()
    none = float(start[0] * end[0])
    start[0] = end[0] = 0.0
    products = np.tril(np.triu(np.outer(start, end)), longest - 1)
    first, last = np.unravel_index(products.argmax(), products.shape)
    return int(first), int(last), float(products[first, last]), none


@pytest.mark.parametrize("longest", [1, 4, 15])
def test_answers_are_those_of_the_pipeline(served: Served, longest: int) -> None:
    model, encode = served.model("reader"), tokenizer(served.root / "reader")
    request = pb.AnswerQuestionRequest(
        model="reader",
        question=text(50, 6),
        contexts=TEXTS,
        max_answer_tokens=longest,
        handle_impossible=True,
        top_k=100,
    )

    contexts = call(served.target, "AnswerQuestion", request).contexts

    for given, found in zip(TEXTS, contexts, strict=True):
        inputs = encode(request.question, given, return_tensors="pt")
        with torch.inference_mode():
            output = model(**inputs)
        parts = np.array([part == 1 for part in inputs.sequence_ids(0)])
        start, end = (
            one[0].numpy().astype(np.float64) for one in (output.start_logits, output.end_logits)
        )
        first, last, score, none = decode(start, end, parts, longest)
        begin = inputs.word_to_chars(0, inputs.token_to_word(0, first), 1).start
        stop = inputs.word_to_chars(0, inputs.token_to_word(0, last), 1).end
        best = next(one for one in found.answers if one.text)
        assert (best.start, best.end) == (begin, stop)
        assert best.score == pytest.approx(score, abs=TOLERANCE)
        (declined,) = [one for one in found.answers if not one.text]
        assert declined.score == pytest.approx(none, abs=TOLERANCE)
