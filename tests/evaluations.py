"""Tiny checkpoints of every task for evaluations, and what transformers says of them alone."""

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from checkpoints import VOCABULARY, WORDS, save_model
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordPiece
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, PreTrainedModel, PreTrainedTokenizerFast

from export import load
from export.evaluation.prepared import Prepared, compare, prepare
from export.kinds.text import TextKind, TextOptions
from export.publish import write_model
from export.quality import examples
from server.repository.manifest import Quality, Task
from server.runtime.session import Session, SessionConfig

MAX_TOKENS = 64
EXAMPLES = 16
ENDINGS = ("##s", "##ed")
UNKNOWN = "[UNK]"
PIECES = ("[PAD]", "[CLS]", "[SEP]", UNKNOWN, *WORDS[:-3], *ENDINGS, WORDS[-1])
"""As many as the tiny models have; the last stands for the mask, as their settings say."""

CLASSES = {0: "bad", 1: "fair", 2: "good"}
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")

Example = dict[str, Any]
Values = NDArray[np.floating]


@dataclass(frozen=True)
class Exported:
    """A tiny checkpoint as the exporter has it between its halves, and its graph."""

    kind: TextKind
    session: Session
    bundle: Path
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast

    def prepare(self, task: Task, file: Path) -> Prepared:
        return prepare(examples.read(file, task), task, self.kind, self.bundle)

    def measure(self, task: Task, file: Path) -> dict[str, Quality]:
        # Nothing of PyTorch may be needed by then.
        prepared = pickle.loads(pickle.dumps(self.prepare(task, file)))  # noqa: S301 - our own
        found = compare(prepared, self.session)
        return {quality.measure: quality for quality in found}

    def logits(self, *texts: Any, **options: Any) -> Mapping[str, Values]:
        encoded = self.tokenizer(*texts, return_tensors="pt", **options)
        with torch.inference_mode():
            output = self.model(**encoded)
        return {name: values[0].numpy() for name, values in output.items()}


def _build(model_class: Any, settings: Mapping[str, Any]) -> PreTrainedModel:
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=MAX_TOKENS,
        # Wide enough that answers to different texts differ.
        initializer_range=0.5,
        **settings,
    )
    model: PreTrainedModel = model_class(config).eval()
    return model


def export_tiny(root: Path, task: Task, model_class: Any, settings: Mapping[str, Any]) -> Exported:
    """Go through the steps of an export that an evaluation depends on."""
    model = _build(model_class, settings)
    checkpoint = root / "checkpoint"
    save_model(checkpoint, model)
    native = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    pieces = {piece: index for index, piece in enumerate(PIECES)}
    native.model = WordPiece(pieces, unk_token=UNKNOWN)
    native.decoder = WordPieceDecoder()
    native.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    native.save(str(checkpoint / "tokenizer.json"))
    config = load.read_config(checkpoint)
    kind = TextKind(load.load(checkpoint, config, task), TextOptions())
    bundle = root / "bundle"
    bundle.mkdir()
    kind.save_files(bundle)
    write_model(kind.convert().model, bundle)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # annotated in part
        tokenizer_object=native, model_input_names=["input_ids", "token_type_ids"]
    )
    session = Session(bundle / "model.onnx", SessionConfig())
    return Exported(kind, session, bundle, model, tokenizer)


def with_noise(exported: Exported, path: Path) -> Session:
    """A session over the same graph with other weights."""
    graph = ir.load(exported.bundle / "model.onnx")
    draw = np.random.default_rng(4)
    for value in graph.graph.initializers.values():
        assert value.const_value is not None
        weights = value.const_value.numpy()
        if weights.ndim == 2 and weights.dtype == np.float32:
            noisy = weights + draw.normal(scale=weights.std(), size=weights.shape)
            value.const_value = ir.tensor(noisy.astype(np.float32))
    ir.save(graph, path / "noisy.onnx")
    return Session(path / "noisy.onnx", SessionConfig())


def write(path: Path, rows: Sequence[Example]) -> Path:
    file = path / "eval.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


def sentence(draw: np.random.Generator, words: int) -> str:
    endings = [draw.choice(["", "s", "ed"]) for _ in range(words)]
    return " ".join(f"{draw.choice(WORDS[:-3])}{ending}" for ending in endings)


def sentences(seed: int, number: int = EXAMPLES) -> list[str]:
    draw = np.random.default_rng(seed)
    return [sentence(draw, int(draw.integers(3, 12))) for _ in range(number)]


def answer_by_hand(exported: Exported, question: str, context: str) -> tuple[str, bool]:
    """The steps of transformers' `run_qa.py`: the best span, and whether none is better."""
    encoded = exported.tokenizer(
        question,
        context,
        truncation="only_second",
        max_length=MAX_TOKENS,
        stride=(MAX_TOKENS - 3 - len(question.split())) // 2,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    best, text, none = -np.inf, "", np.inf
    for window, ids in enumerate(encoded["input_ids"]):
        with torch.inference_mode():
            types = torch.tensor([encoded["token_type_ids"][window]])
            output = exported.model(torch.tensor([ids]), token_type_ids=types)
        start, end = output.start_logits[0].numpy(), output.end_logits[0].numpy()
        none = min(none, start[0] + end[0])
        parts, offsets = encoded.sequence_ids(window), encoded["offset_mapping"][window]
        for first in range(len(ids)):
            for last in range(first, min(first + 30, len(ids))):
                if parts[first] == parts[last] == 1 and start[first] + end[last] > best:
                    best = start[first] + end[last]
                    text = context[offsets[first][0] : offsets[last][1]]
    return text, bool(none > best)
