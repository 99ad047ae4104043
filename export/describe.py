"""Build the manifest of an embedding bundle from what the export knows.

Pure: the promises that a server relies on, in one place. Digests are added by `publish`.
"""

from dataclasses import dataclass

from export.errors import CheckpointUnsupported
from export.graph.heads import SEGMENT_IDS, SENTENCE_EMBEDDING, Head
from server.repository.manifest import (
    SCHEMA_VERSION,
    Card,
    Limits,
    Manifest,
    Pooling,
    SessionOptions,
    TensorSpec,
    TextFiles,
)

SESSIONS = {
    # The CPU kernel of SkipLayerNormalization is slower than the Add and LayerNormalization that
    # it replaces, and ONNX Runtime fuses it at load unless told not to.
    "cpu": SessionOptions(disabled_optimizers=("SkipLayerNormFusion", "BiasSkipLayerNormFusion")),
    # A GPU has no such cache to fall out of and wants runs large enough to fill it.
    "cuda": SessionOptions(max_batch_tokens=8192),
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What is true of the model, whatever file it ends up in."""

    family: str
    hidden_size: int
    vocabulary: int
    max_position: int
    position_offset: int
    pad_id: int
    max_tokens: int
    head: Head


def max_tokens(stated: int | None, max_position: int, position_offset: int) -> int:
    """Return the longest sequence: as the checkpoint states, within its position table.

    Raises:
        CheckpointUnsupported: the table has no room for a single token.
    """
    room = max_position - position_offset
    if room < 1:
        raise CheckpointUnsupported(
            f"a position table of {max_position} rows has no room behind offset {position_offset}"
        )
    return room if stated is None else min(stated, room)


def build_manifest(
    facts: Facts, *, name: str, version: int, isa: str, opset: int, min_onnxruntime: str, card: Card
) -> Manifest:
    """Return the manifest without digests."""
    ids = (-1, -1)
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        version=version,
        task="embed",
        family=facts.family,
        hidden_size=facts.hidden_size,
        inputs=tuple(
            TensorSpec(input_name, "INT64", ids)
            for input_name in ("input_ids", SEGMENT_IDS, "position_ids")
        ),
        outputs=(TensorSpec(SENTENCE_EMBEDDING, "FP32", (-1, facts.head.dimensions)),),
        mask="segment_ids",
        limits=Limits(
            max_tokens=facts.max_tokens,
            vocabulary=facts.vocabulary,
            max_position=facts.max_position,
        ),
        pooling=Pooling(
            mode=facts.head.mode,
            normalize=facts.head.normalize,
            dimensions=facts.head.dimensions,
        ),
        text=TextFiles(pad_id=facts.pad_id, position_offset=facts.position_offset),
        precision="fp32",
        isa=isa,
        opset=opset,
        min_onnxruntime=min_onnxruntime,
        sessions=SESSIONS,
        files={},
        card=card,
    )
