import pytest

from export.describe import Facts, build_manifest, max_tokens
from export.errors import CheckpointUnsupported
from export.graph.heads import Head
from server.repository.manifest import Card, Limits, Manifest, Pooling, TextFiles, decode, encode

CARD = Card(
    source="owner/name",
    attention_modules=6,
    fused_nodes=6,
    fused_op="com.microsoft.MultiHeadAttention",
    parity=(),
    versions={},
    exported_at="2026-01-01T00:00:00+00:00",
)


def manifest() -> Manifest:
    facts = Facts(
        family="roberta",
        hidden_size=32,
        vocabulary=100,
        max_position=66,
        position_offset=2,
        pad_id=1,
        max_tokens=64,
        head=Head("mean", normalize=True, dimensions=32),
    )
    return build_manifest(
        facts, name="tiny", version=3, isa="x86_64", opset=20, min_onnxruntime="1.31.1", card=CARD
    )


def test_the_manifest_survives_writing_and_reading() -> None:
    assert decode(encode(manifest())) == manifest()


def test_the_facts_of_the_model_are_promised() -> None:
    built = manifest()
    assert built.limits == Limits(max_tokens=64, vocabulary=100, max_position=66)
    assert built.text == TextFiles(pad_id=1, position_offset=2)
    assert built.pooling == Pooling(mode="mean", normalize=True, dimensions=32)
    assert [spec.name for spec in built.inputs] == ["input_ids", "segment_ids", "position_ids"]
    assert [(spec.name, spec.shape) for spec in built.outputs] == [("sentence_embedding", (-1, 32))]


def test_skip_layer_norm_is_kept_out_on_cpu_only() -> None:
    sessions = manifest().sessions
    assert "SkipLayerNormFusion" in sessions["cpu"].disabled_optimizers
    assert sessions["cuda"].disabled_optimizers == ()


@pytest.mark.parametrize(
    ("stated", "rows", "offset", "expected"),
    [(256, 512, 0, 256), (None, 512, 0, 512), (None, 514, 2, 512), (1024, 514, 2, 512)],
)
def test_the_longest_sequence_fits_statement_and_position_table(
    stated: int | None, rows: int, offset: int, expected: int
) -> None:
    assert max_tokens(stated, rows, offset) == expected


def test_a_position_table_without_room_is_refused() -> None:
    with pytest.raises(CheckpointUnsupported, match="no room behind offset 2"):
        max_tokens(None, 2, 2)
