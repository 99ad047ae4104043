"""Tiny real bundles, built in milliseconds without torch: one attention layer, 60 words.

Two words make the graph itself misbehave, so that tests need no fake session: every "slow" keeps
ONNX Runtime busy for a while, and "poison" makes the whole run fail with an out-of-range index.
"""

from pathlib import Path

import numpy as np
import onnx.numpy_helper
import onnx.parser
import onnx_ir as ir
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing

from export.graph.heads import Head, add_sentence_embedding
from export.publish import publish, stage, write_model
from server.repository.manifest import (
    Card,
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
SLOW_ID, POISON_ID = 62, 63
SLOW_STEPS = 40_000
"""Loop iterations per "slow": some tens of milliseconds."""

GRAPH = f"""
<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]>
encoder (int64[rows, length] input_ids, int64[rows, length] segment_ids,
         int64[rows, length] position_ids) => (float[rows, length, {HIDDEN}] states)
{{
    tokens = Gather (token_table, input_ids)
    positions = Gather (position_table, position_ids)
    embedded = Add (tokens, positions)
    across = Unsqueeze (segment_ids, axis_1)
    down = Unsqueeze (segment_ids, axis_2)
    same = Equal (across, down)
    bias_3d = Where (same, zero, low)
    bias = Unsqueeze (bias_3d, axis_1)
    attended = com.microsoft.MultiHeadAttention <num_heads = {NUM_HEADS}>
        (embedded, embedded, embedded, , , bias)
    mixed = Add (embedded, attended)

    is_poison = Equal (input_ids, poison_id)
    trap = Where (is_poison, out_of_range, zero_index)
    nothing = Gather (one_zero, trap)
    nothing_3d = Unsqueeze (nothing, axis_2)

    is_slow = Equal (input_ids, slow_id)
    slow = Cast <to = 7> (is_slow)
    num_slow = ReduceSum <keepdims = 0> (slow)
    steps = Mul (num_slow, slow_steps)
    spent = Loop (steps, , one_zero) <body = work (int64 step, bool go, float[1] before)
        => (bool go_on, float[1] after) {{
            go_on = Identity (go)
            after = Mul (before, before)
        }}>
    harmless = Add (mixed, nothing_3d)
    states = Add (harmless, spent)
}}
"""


def build_encoder(
    root: Path, name: str = "tiny", version: int = 1, providers: tuple[str, ...] = ("cpu",)
) -> Path:
    """Publish a tiny embedding bundle in the repository `root` and return its directory."""
    model = _model()
    add_sentence_embedding(model, Head(mode="mean", normalize=True, dimensions=HIDDEN))
    with stage(root, name, version) as staged:
        write_model(model, staged.directory)
        tokenizer().save(str(staged.directory / "tokenizer.json"))
        return publish(staged, manifest(name, version, providers)).path


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
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return result


def manifest(name: str, version: int, providers: tuple[str, ...] = ("cpu",)) -> Manifest:
    """Return the manifest of a tiny bundle, without digests."""
    ids = [
        TensorSpec(f"{kind}_ids", "INT64", (-1, -1)) for kind in ("input", "segment", "position")
    ]
    return Manifest(
        schema_version=1,
        name=name,
        version=version,
        task="embed",
        family="tiny",
        hidden_size=HIDDEN,
        inputs=tuple(ids),
        outputs=(TensorSpec("sentence_embedding", "FP32", (-1, HIDDEN)),),
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


def _model() -> ir.Model:
    random = np.random.default_rng(7)
    constants: dict[str, NDArray[np.generic]] = {
        "token_table": random.normal(size=(VOCABULARY, HIDDEN)).astype(np.float32),
        "position_table": random.normal(size=(MAX_TOKENS, HIDDEN)).astype(np.float32),
        "axis_1": np.array([1], np.int64),
        "axis_2": np.array([2], np.int64),
        "zero": np.array(0, np.float32),
        "low": np.array(-1e9, np.float32),
        "poison_id": np.array(POISON_ID, np.int64),
        "out_of_range": np.array(1, np.int64),
        "zero_index": np.array(0, np.int64),
        "one_zero": np.zeros(1, np.float32),
        "slow_id": np.array(SLOW_ID, np.int64),
        "slow_steps": np.array(SLOW_STEPS, np.int64),
    }
    proto = onnx.parser.parse_model(GRAPH)
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in constants.items()
    )
    return ir.from_proto(proto)
