"""Tiny real bundles, built in milliseconds without torch: one attention layer, 60 words.

Two words make the graph itself misbehave, so that tests need no fake session: every "slow" keeps
ONNX Runtime busy for a while, and "poison" makes the whole run fail with an out-of-range index.
In bundles of whole rows the numbers SLOW_ID and POISON_ID do the same.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx.numpy_helper
import onnx.parser
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing

from export.graph.explain import save_explain
from export.graph.heads import Head, add_sentence_embedding, add_sparse_embedding
from export.publish import publish, stage, write_model
from server.repository.manifest import (
    Card,
    Explain,
    Labels,
    Limits,
    Manifest,
    Pooling,
    SessionOptions,
    TensorSpec,
    TextFiles,
)

HIDDEN = 8
NUM_HEADS = 2
VOCABULARY = 64
MAX_TOKENS = 32
MASK_ID, SLOW_ID, POISON_ID = 4, 62, 63
"""The words "word0", "slow" and "poison"."""
SLOW_STEPS = 40_000
"""Loop iterations per "slow": some tens of milliseconds."""
TAGS = ("none", "person", "place")
VERDICTS = ("contradiction", "neutral", "entailment")
COLUMNS = 4
"""Values in the last axis of a bundle of whole rows."""

Constants = Mapping[str, NDArray[np.generic]]

HEADER = '<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]>'

MISBEHAVIOUR = """
    is_poison = Equal ({watched}, poison)
    trap = Where (is_poison, out_of_range, zero_index)
    nothing = Gather (one_zero, trap)

    is_slow = Equal ({watched}, slow)
    slow_here = Cast <to = 7> (is_slow)
    num_slow = ReduceSum <keepdims = 0> (slow_here)
    steps = Mul (num_slow, slow_steps)
    spent = Loop (steps, , one_zero) <body = work (int64 step, bool go, float[1] before)
        => (bool go_on, float[1] after) {{
            go_on = Identity (go)
            after = Mul (before, before)
        }}>
"""

ENCODER = f"""
    tokens = Gather (token_table, input_ids)
    positions = Gather (position_table, position_ids)
    placed = Add (tokens, positions)
    embedded = Add (placed, typed)
    across = Unsqueeze (segment_ids, axis_1)
    down = Unsqueeze (segment_ids, axis_2)
    same = Equal (across, down)
    bias_3d = Where (same, zero, low)
    bias = Unsqueeze (bias_3d, axis_1)
    attended = com.microsoft.MultiHeadAttention <num_heads = {NUM_HEADS}>
        (embedded, embedded, embedded, , , bias)
    mixed = Add (embedded, attended)
    {MISBEHAVIOUR.format(watched="input_ids")}
    nothing_3d = Unsqueeze (nothing, axis_2)
    harmless = Add (mixed, nothing_3d)
    states = Add (harmless, spent)
"""

STATES = f"float[rows, length, {HIDDEN}] states"

TAG_HEAD = "logits = MatMul (states, tag_table)"

SPAN_HEAD = """
    ends = MatMul (states, end_table)
    start_3d, end_3d = Split <axis = 2, num_outputs = 2> (ends)
    start_logits = Squeeze (start_3d, axis_2)
    end_logits = Squeeze (end_3d, axis_2)
"""

MASK_HEAD = """
    is_mask = Equal (input_ids, mask_id)
    found = NonZero (is_mask)
    places = Transpose <perm = [1, 0]> (found)
    chosen = GatherND (states, places)
    logits = MatMul (chosen, word_table)
"""

WORD_HEAD = "logits = MatMul (states, word_table)"

ROWS = f"""
    projected = MatMul (pixels, tag_table_{COLUMNS})
    shift_real = Cast <to = 1> (shift)
    shift_3d = Unsqueeze (shift_real, axis_1)
    shifted = Add (projected, shift_3d)
    {MISBEHAVIOUR.format(watched="pixels")}
    nothing_row = ReduceSum <keepdims = 1> (nothing, axis_2)
    harmless = Add (shifted, nothing_row)
    product = Add (harmless, spent)
    total = ReduceSum <keepdims = 0> (product, axis_1)
"""


def build_encoder(
    root: Path, name: str = "tiny", version: int = 1, providers: tuple[str, ...] = ("cpu",)
) -> Path:
    """Publish a tiny embedding bundle in the repository `root` and return its directory."""
    model = _encoder(STATES)
    add_sentence_embedding(model, Head(mode="mean", normalize=True, dimensions=HIDDEN))
    return _publish(root, model, manifest(name, version, providers))


def build_topics(root: Path, name: str = "topics") -> Path:
    """Publish a classifier with a second output: logits per sequence, states per token."""
    model = _encoder(STATES)
    (states,) = model.graph.outputs
    add_sentence_embedding(model, Head(mode="cls", normalize=False, dimensions=HIDDEN))
    model.graph.outputs[0].name = "logits"
    model.graph.outputs.append(states)
    outputs = (
        TensorSpec("logits", "FP32", (-1, HIDDEN), "sequence"),
        TensorSpec("states", "FP32", (-1, -1, HIDDEN), "token"),
    )
    labels = Labels(tuple(f"topic{number}" for number in range(HIDDEN)), "multi", (0.5,) * HIDDEN)
    return _publish(root, model, _text(name, "classify", outputs, labels=labels))


def build_tagger(root: Path, name: str = "tagger") -> Path:
    """Publish a token classifier."""
    model = _encoder(f"float[rows, length, {len(TAGS)}] logits", TAG_HEAD)
    outputs = (TensorSpec("logits", "FP32", (-1, -1, len(TAGS)), "token"),)
    return _publish(
        root, model, _text(name, "token-classify", outputs, labels=Labels(TAGS, "single"))
    )


def build_reader(root: Path, name: str = "reader") -> Path:
    """Publish an extractive question answerer: token types in, two outputs per token."""
    model = _encoder(
        "float[rows, length] start_logits, float[rows, length] end_logits", SPAN_HEAD, types=True
    )
    outputs = tuple(
        TensorSpec(f"{end}_logits", "FP32", (-1, -1), "token") for end in ("start", "end")
    )
    return _publish(root, model, _text(name, "question-answer", outputs, types=True))


def build_ranker(root: Path, name: str = "ranker") -> Path:
    """Publish a cross-encoder with one logit."""
    return build_classifier(root, name, "rerank", Labels(("relevant",), "multi"))


def build_judge(root: Path, name: str = "judge") -> Path:
    """Publish a classifier of pairs into labels that exclude each other."""
    return build_classifier(root, name, "classify", Labels(VERDICTS, "single"))


def build_classifier(root: Path, name: str, task: str, labels: Labels) -> Path:
    """Publish a classifier of pairs: token types in, the first token's first values out."""
    num_labels = len(labels.names)
    model = _encoder(STATES, types=True)
    head = Head(mode="cls", normalize=False, dimensions=num_labels, width=HIDDEN)
    add_sentence_embedding(model, head)
    model.graph.outputs[0].name = "logits"
    outputs = (TensorSpec("logits", "FP32", (-1, num_labels), "sequence"),)
    return _publish(root, model, _text(name, task, outputs, types=True, labels=labels))


def build_sparse(root: Path, name: str = "sparse") -> Path:
    """Publish a sparse embedding bundle."""
    model = _encoder(f"float[rows, length, {VOCABULARY}] logits", WORD_HEAD)
    add_sparse_embedding(model, VOCABULARY)
    outputs = (TensorSpec("sparse_embedding", "FP32", (-1, VOCABULARY), "sequence"),)
    return _publish(root, model, _text(name, "sparse-embed", outputs))


def build_late(root: Path, name: str = "late") -> Path:
    """Publish an embedding bundle with a second output: the states of the tokens."""
    model = _encoder(STATES)
    (states,) = model.graph.outputs
    add_sentence_embedding(model, Head(mode="mean", normalize=True, dimensions=HIDDEN))
    model.graph.outputs.append(states)
    outputs = (
        TensorSpec("sentence_embedding", "FP32", (-1, HIDDEN), "sequence"),
        TensorSpec("states", "FP32", (-1, -1, HIDDEN), "token"),
    )
    return _publish(root, model, manifest(name, 1, outputs=outputs))


def build_explained(root: Path, name: str = "explained") -> Path:
    """Publish an embedding bundle of token types with its attention probabilities.

    Both of its graphs misbehave.
    """
    typed = """
        of_type = Gather (type_table, token_type_ids)
        trapped = Add (of_type, nothing_3d)
        one_spent = Reshape (spent, axis_1)
        typed = Add (trapped, one_spent)
    """
    model = _encoder(STATES, types=True, typed=typed)
    add_sentence_embedding(model, Head(mode="mean", normalize=True, dimensions=HIDDEN))
    model.graph.sort()
    common.ShapeInferencePass()(model)
    inputs = _ids("input_ids", "segment_ids", "position_ids", "token_type_ids")
    return _publish(root, model, manifest(name, 1, inputs=inputs), explain=True)


def build_filler(root: Path, name: str = "filler") -> Path:
    """Publish a masked language model whose mask token is "word0"."""
    model = _encoder(f"float[masks, {VOCABULARY}] logits", MASK_HEAD)
    outputs = (TensorSpec("logits", "FP32", (-1, VOCABULARY), "mask"),)
    return _publish(root, model, _text(name, "fill-mask", outputs, text=TextFiles(mask_id=MASK_ID)))


def build_rows(root: Path, name: str = "pixels", height: int | None = None) -> Path:
    """Publish a bundle of whole rows: a matrix product over images whose height is free or fixed.

    Free is raw tensors, fixed an image classifier.
    """
    size = height or -1
    extent = str(height) if height else "height"
    signature = (
        f"rows (float[rows, {extent}, {COLUMNS}] pixels, int64[rows, {len(TAGS)}] shift) => "
        f"(float[rows, {len(TAGS)}] total, float[rows, {extent}, {len(TAGS)}] product)"
    )
    model = _parse(f"{HEADER} {signature} {{ {ROWS} }}", _constants(np.float32))
    promised = manifest(
        name,
        1,
        task="image-classify" if height else "tensors",
        mask="none",
        limits=None,
        text=None,
        pooling=None,
        labels=Labels(TAGS, "single") if height else None,
        inputs=(
            TensorSpec("pixels", "FP32", (-1, size, COLUMNS)),
            TensorSpec("shift", "INT64", (-1, len(TAGS))),
        ),
        outputs=(
            TensorSpec("total", "FP32", (-1, len(TAGS))),
            TensorSpec("product", "FP32", (-1, size, len(TAGS))),
        ),
    )
    return _publish(root, model, promised)


def words() -> list[str]:
    """Return the vocabulary, special tokens first."""
    plain = [f"word{number}" for number in range(VOCABULARY - 6)]
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *plain, "slow", "poison"]


def tokenizer() -> Tokenizer:
    """Return a tokenizer with one token per word, between [CLS] and [SEP]."""
    vocabulary = {word: index for index, word in enumerate(words())}
    result = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106  (a word)
    result.pre_tokenizer = WhitespaceSplit()
    result.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return result


def manifest(
    name: str, version: int, providers: tuple[str, ...] = ("cpu",), **changes: Any
) -> Manifest:
    """Return the manifest of a tiny bundle, without digests: an embedding one unless changed."""
    embedding = Manifest(
        schema_version=2,
        name=name,
        version=version,
        task="embed",
        family="tiny",
        hidden_size=HIDDEN,
        inputs=_ids("input_ids", "segment_ids", "position_ids"),
        outputs=(TensorSpec("sentence_embedding", "FP32", (-1, HIDDEN), "sequence"),),
        mask="segment_ids",
        limits=Limits(MAX_TOKENS, VOCABULARY, MAX_TOKENS),
        pooling=Pooling("mean", normalize=True, dimensions=HIDDEN),
        text=TextFiles(),
        precision="fp32",
        isa="any",
        opset=20,
        min_onnxruntime="1.31.1",
        sessions=dict.fromkeys(providers, SessionOptions(max_batch_tokens=256, min_row_tokens=16)),
        files={},
        card=Card("tests", 1, 1, "MultiHeadAttention", (), {}, "2026-01-01T00:00:00+00:00"),
    )
    return msgspec.structs.replace(embedding, **changes)


def _text(
    name: str, task: str, outputs: tuple[TensorSpec, ...], *, types: bool = False, **changes: Any
) -> Manifest:
    inputs = ["input_ids", "segment_ids", "position_ids", *(["token_type_ids"] if types else [])]
    return manifest(
        name, 1, task=task, inputs=_ids(*inputs), outputs=outputs, pooling=None, **changes
    )


def _ids(*names: str) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, "INT64", (-1, -1)) for name in names)


def _publish(root: Path, model: ir.Model, promised: Manifest, *, explain: bool = False) -> Path:
    with stage(root, promised.name, promised.version) as staged:
        write_model(model, staged.directory)
        if explain:
            promised = msgspec.structs.replace(promised, explain=_explain(model, staged.directory))
        if promised.text is not None:
            tokenizer().save(str(staged.directory / "tokenizer.json"))
        return publish(staged, promised).path


def _explain(model: ir.Model, directory: Path) -> Explain:
    written = save_explain(directory / "model.onnx", directory / "explain.onnx", model)
    outputs = (
        TensorSpec("attentions", "FP32", (1, -1, NUM_HEADS, -1, -1)),
        TensorSpec("rollout", "FP32", (-1, -1, -1)),
    )
    assert [value.name for value in written.graph.outputs] == [spec.name for spec in outputs]
    return Explain("explain.onnx", outputs)


def _encoder(outputs: str, head: str = "", *, types: bool = False, typed: str = "") -> ir.Model:
    names = ["input_ids", "segment_ids", "position_ids", *(["token_type_ids"] if types else [])]
    inputs = ", ".join(f"int64[rows, length] {name}" for name in names)
    plain = "Gather (type_table, token_type_ids)" if types else "Identity (zero)"
    body = f"{typed or f'typed = {plain}'} {ENCODER} {head}"
    return _parse(f"{HEADER} encoder ({inputs}) => ({outputs}) {{ {body} }}", _constants(np.int64))


def _parse(graph: str, constants: Constants) -> ir.Model:
    proto = onnx.parser.parse_model(graph)
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name)
        for name, array in constants.items()
        if any(name in node.input for node in proto.graph.node)
    )
    return ir.from_proto(proto)


def _constants(watched: type[np.generic]) -> Constants:
    """Return every weight and constant; `watched` is the datatype that misbehaviour looks at."""
    random = np.random.default_rng(7)

    def table(*shape: int) -> NDArray[np.generic]:
        return random.normal(size=shape).astype(np.float32)

    return {
        "token_table": table(VOCABULARY, HIDDEN),
        "position_table": table(MAX_TOKENS, HIDDEN),
        "type_table": table(2, HIDDEN),
        "tag_table": table(HIDDEN, len(TAGS)),
        "end_table": table(HIDDEN, 2),
        "word_table": table(HIDDEN, VOCABULARY),
        f"tag_table_{COLUMNS}": table(COLUMNS, len(TAGS)),
        "axis_1": np.array([1], np.int64),
        "axis_2": np.array([2], np.int64),
        "zero": np.array(0, np.float32),
        "low": np.array(-1e9, np.float32),
        "mask_id": np.array(MASK_ID, np.int64),
        "poison": np.array(POISON_ID, watched),
        "slow": np.array(SLOW_ID, watched),
        "out_of_range": np.array(1, np.int64),
        "zero_index": np.array(0, np.int64),
        "one_zero": np.zeros(1, np.float32),
        "slow_steps": np.array(SLOW_STEPS, np.int64),
    }
