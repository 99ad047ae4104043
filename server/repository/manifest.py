"""The schema of `bundle.json`: what an export promises and a server may rely on.

Pure values. Reading is strict: an unknown field, a missing one or a wrong type is refused by name,
so that a bundle written by a newer export is never half understood.
"""

from typing import Annotated, Literal

import msgspec

from server.errors import BundleCorrupt

SCHEMA_VERSION: Literal[1] = 1
MANIFEST_NAME = "bundle.json"

Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Datatype = Literal[
    "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64",
    "FP16", "BF16", "FP32", "FP64", "BYTES",
]  # fmt: skip
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every part of the manifest: immutable, named fields, nothing unknown."""


class TensorSpec(Record, frozen=True):
    """One input or output of the graph. A dimension of -1 is free."""

    name: str
    datatype: Datatype
    shape: tuple[Annotated[int, msgspec.Meta(ge=-1)], ...]


class Limits(Record, frozen=True):
    """What one sequence may be."""

    max_tokens: Positive
    vocabulary: Positive
    max_position: Positive
    """`position_ids` lie in [0, max_position)."""


class Pooling(Record, frozen=True):
    """How token states become one vector per segment, inside the graph."""

    mode: Literal["mean", "cls"]
    normalize: bool
    dimensions: Positive


class TextFiles(Record, frozen=True):
    """Tokenizer of a text bundle."""

    tokenizer: str = "tokenizer.json"
    pad_id: Count = 0
    position_offset: Count = 0
    """First position id of a sequence (0 for BERT, pad_id + 1 for the RoBERTa family)."""


class SessionOptions(Record, frozen=True):
    """Session options that were measured best for one provider."""

    disabled_optimizers: tuple[str, ...] = ()
    max_batch_tokens: Positive = 384
    """Padded tokens that one run should hold: enough to pay for reading the weights, little enough
    for activations to stay in the cache. The default suits small fp32 encoders on CPU."""
    min_row_tokens: Positive = 64
    """Short sequences share rows of at least this many tokens."""


class FileDigest(Record, frozen=True):
    """Identity of one file of the bundle."""

    sha256: Sha256
    size_bytes: Count


class Parity(Record, frozen=True):
    """Largest difference to the reference implementation over one kind of batch."""

    case: str
    max_abs_difference: float
    tolerance: float


class Card(Record, frozen=True):
    """What the export proved. For people and tools; the server does not act on it."""

    source: str
    attention_modules: Count
    fused_nodes: Count
    fused_op: str
    parity: tuple[Parity, ...]
    versions: dict[str, str]
    exported_at: str


class Manifest(Record, frozen=True):
    """Everything about one version of one model that is not weights."""

    schema_version: Literal[1]
    name: Name
    version: Positive
    task: Literal["embed"]
    family: str
    hidden_size: Positive
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    mask: Literal["segment_ids"]
    """0 is padding, 1..k are independent sequences sharing a row."""
    limits: Limits
    pooling: Pooling
    text: TextFiles
    precision: Literal["fp32"]
    isa: str
    """Instruction set the numbers were measured on; informative for fp32."""
    opset: Positive
    min_onnxruntime: str
    sessions: dict[str, SessionOptions]
    files: dict[str, FileDigest]
    card: Card


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
