from export.describe import build_manifest
from export.kinds.kind import Interface
from server.repository.manifest import (
    Card,
    Limits,
    Manifest,
    Pooling,
    SessionOptions,
    TensorSpec,
    TextFiles,
    decode,
    encode,
)

CARD = Card(
    source="owner/name",
    attention_modules=6,
    fused_nodes=6,
    fused_op="com.microsoft.MultiHeadAttention",
    parity=(),
    versions={},
    exported_at="2026-01-01T00:00:00+00:00",
)
TEXT = Interface(
    family="roberta",
    hidden_size=32,
    inputs=(TensorSpec("input_ids", "INT64", (-1, -1)),),
    outputs=(TensorSpec("sentence_embedding", "FP32", (-1, 32), "sequence"),),
    limits=Limits(max_tokens=64, vocabulary=100, max_position=66),
    text=TextFiles(pad_id=1, position_offset=2),
    pooling=Pooling("mean", normalize=True, dimensions=32),
)
IMAGES = Interface(
    family="vit",
    hidden_size=32,
    inputs=(TensorSpec("pixel_values", "FP32", (-1, 3, 8, 8)),),
    outputs=(TensorSpec("logits", "FP32", (-1, 2)),),
    processor="preprocessor_config.json",
)


def manifest(interface: Interface = TEXT) -> Manifest:
    return build_manifest(
        interface,
        name="tiny",
        version=3,
        task="embed" if interface is TEXT else "image-classify",
        precision="fp32",
        isa="x86_64",
        opset=20,
        min_onnxruntime="1.31.1",
        cpu=SessionOptions(disabled_optimizers=("SkipLayerNormFusion",)),
        card=CARD,
        explain=None,
    )


def test_the_manifest_survives_writing_and_reading() -> None:
    assert decode(encode(manifest())) == manifest()


def test_the_interface_of_the_model_is_promised() -> None:
    built = manifest()
    assert built.limits == TEXT.limits
    assert built.text == TEXT.text
    assert built.pooling == TEXT.pooling
    assert built.outputs == TEXT.outputs


def test_only_text_is_packed() -> None:
    assert manifest().mask == "segment_ids"
    assert manifest(IMAGES).mask == "none"
    assert manifest(IMAGES).processor == "preprocessor_config.json"


def test_what_was_measured_on_cpu_says_nothing_of_cuda() -> None:
    sessions = manifest().sessions
    assert sessions["cpu"].disabled_optimizers == ("SkipLayerNormFusion",)
    assert sessions["cuda"].disabled_optimizers == ()
