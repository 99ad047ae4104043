"""The schema of `bundle.json`: what an export promises and a server may rely on.

Pure values. Reading is strict: an unknown field, a missing one or a wrong type is refused by name,
so that a bundle written by a newer export is never half understood.
"""

from typing import Annotated, Literal

import msgspec

from server.errors import BundleCorrupt

SCHEMA_VERSION: Literal[2] = 2
MANIFEST_NAME = "bundle.json"

Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Datatype = Literal[
    "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64",
    "FP16", "BF16", "FP32", "FP64", "BYTES",
]  # fmt: skip
Task = Literal[
    "embed", "sparse-embed", "rerank", "classify", "token-classify", "question-answer", "fill-mask",
    "image-classify", "detect", "segment", "tensors",
]  # fmt: skip
Precision = Literal["fp32", "fp16", "int8", "int4"]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every part of the manifest: immutable, named fields, nothing unknown."""


class TensorSpec(Record, frozen=True):
    """One input or output of the graph. A dimension of -1 is free."""

    name: str
    datatype: Datatype
    shape: tuple[Annotated[int, msgspec.Meta(ge=-1)], ...]
    per: Literal["row", "sequence", "token", "mask"] = "row"
    """What the leading axes of an output count.

    row: the rows of the inputs. sequence: every sequence of every row, in order, one flat axis.
    token: rows and length, as the inputs. mask: every mask token in reading order, one flat axis.
    """


class Limits(Record, frozen=True):
    """What one sequence may be."""

    max_tokens: Positive
    vocabulary: Positive
    max_position: Positive
    """`position_ids` lie in [0, max_position)."""


class Pooling(Record, frozen=True):
    """How token states become one vector per segment, inside the graph."""

    mode: Literal["mean", "cls", "last", "max"]
    normalize: bool
    dimensions: Positive


class TextFiles(Record, frozen=True):
    """Tokenizer of a text bundle."""

    tokenizer: str = "tokenizer.json"
    pad_id: Count = 0
    position_offset: Count = 0
    """First position id of a sequence (0 for BERT, pad_id + 1 for the RoBERTa family)."""
    mask_id: Count | None = None
    """Token whose place a fill-mask bundle fills."""


class Labels(Record, frozen=True):
    """What the numbers of a classifying output mean."""

    names: tuple[str, ...]
    """By index of the output's axis of labels: the last, or the one behind the rows of a map."""
    kind: Literal["single", "multi", "regression"]
    """single: softmax over the names. multi: a sigmoid each. regression: the value itself."""
    thresholds: tuple[float, ...] = ()
    """For multi, the probability from which each name holds; empty means 0.5 for all."""


class Explain(Record, frozen=True):
    """The second graph, over the same weights, that returns attention probabilities."""

    model: str
    outputs: tuple[TensorSpec, ...]


class SessionOptions(Record, frozen=True):
    """Session options that were measured best for one provider."""

    disabled_optimizers: tuple[str, ...] = ()
    max_batch_tokens: Positive = 384
    """Padded tokens that one run should hold: enough to pay for reading the weights, little enough
    for activations to stay in the cache. The default suits small fp32 encoders on CPU."""
    min_row_tokens: Positive = 64
    """Short sequences share rows of at least this many tokens."""
    max_batch_rows: Positive = 4
    """Rows of one run where rows are whole: enough to pay for reading the weights, few enough for
    nobody to wait for others. MiniLM-L6 fp32 on one core, CPU ms a row in runs of 1, 4 and 16:
    12.7, 9.1, 9.1 for rows of 50 tokens; 41, 41, 45 for rows of 197."""


class FileDigest(Record, frozen=True):
    """Identity of one file of the bundle."""

    sha256: Sha256
    size_bytes: Count


class Parity(Record, frozen=True):
    """Difference to the reference implementation over one kind of batch."""

    case: str
    difference: float
    tolerance: float
    measure: Literal["largest", "relative"] = "largest"
    """largest: of any value, in units of the largest expected where that is beyond 1. relative:
    length of the difference over length of what is expected, the worst of the answers."""


class Quality(Record, frozen=True):
    """One measure of the task, of PyTorch and of the bundle, with a 95 % confidence interval."""

    measure: str
    reference: float | None
    bundle: float
    low: float | None = None
    """Interval of bundle minus reference."""
    high: float | None = None
    count: Count = 0
    """Examples behind it."""


class Speed(Record, frozen=True):
    """CPU time of one run, interleaved with the unfused form of the same checkpoint."""

    shape: str
    """Rows x length."""
    run_ms: float
    unfused_ms: float


class Card(Record, frozen=True):
    """What the export proved. For people and tools; the server does not act on it."""

    source: str
    attention_modules: Count
    fused_nodes: Count
    fused_op: str
    parity: tuple[Parity, ...]
    versions: dict[str, str]
    exported_at: str
    unfused: tuple[str, ...] = ()
    """Attention classes that stayed in pieces, which the exporter was told to accept."""
    quality: tuple[Quality, ...] = ()
    speed: tuple[Speed, ...] = ()
    layout: tuple[str, ...] = ()
    """Forms of the graph that measured fastest."""
    kept_float: tuple[str, ...] = ()
    """Layers that cost too much quality in the stated precision."""
    peak_memory_bytes: Count = 0
    """What the export took at most, beyond its libraries."""
    checkpoint_bytes: Count = 0
    notes: tuple[str, ...] = ()


class Manifest(Record, frozen=True):
    """Everything about one version of one model that is not weights."""

    schema_version: Literal[2]
    name: Name
    version: Positive
    task: Task
    family: str
    hidden_size: Positive
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    mask: Literal["segment_ids", "none"]
    """segment_ids: 0 is padding, 1..k are independent sequences sharing a row. none: every row is
    whole, and rows of one run have equal shapes."""
    precision: Precision
    isa: str
    """Instruction set the numbers were measured on; informative for fp32."""
    opset: Positive
    min_onnxruntime: str
    sessions: dict[str, SessionOptions]
    files: dict[str, FileDigest]
    card: Card
    limits: Limits | None = None
    """Of sequences; none without text."""
    text: TextFiles | None = None
    pooling: Pooling | None = None
    labels: Labels | None = None
    processor: str | None = None
    """File of the image or audio processor's settings, for the client."""
    explain: Explain | None = None


def decode(data: bytes) -> Manifest:
    """Read `bundle.json`.

    Raises:
        BundleCorrupt: not JSON, or a field is missing, unknown or out of range; names the field.
    """
    try:
        return msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise BundleCorrupt(
            f"{MANIFEST_NAME}: {error}; export the bundle again with this version of heed"
        ) from error


def encode(manifest: Manifest) -> bytes:
    """Write a manifest as indented JSON that `decode` reads back unchanged."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
