"""Two BERT-like architectures through the whole pipeline; `test_supported` has the others."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from checkpoints import (
    HIDDEN,
    LAYERS,
    VOCABULARY,
    save_checkpoint,
    tiny_model,
)
from exports import TOLERANCE, embed, embed_in_torch, export_to, open_session
from numpy.typing import NDArray

from server.repository.bundle import Bundle, open_bundle
from server.repository.manifest import Limits, Pooling, TextFiles
from server.runtime.session import Session, SessionConfig

SEQUENCES = ([5, 9, 30, 7], [11], [8, 8, 21, 34, 6, 17, 12, 39, 4])
ROBERTA_LIKE = {"roberta"}


@pytest.fixture(scope="module", params=("bert", "roberta"))
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Bundle]:
    """One export for each architecture."""
    family: str = request.param
    root = tmp_path_factory.mktemp(family)
    checkpoint = save_checkpoint(root / family, family)
    assert export_to(root / "models", checkpoint) == 0
    return family, open_bundle(root / "models" / family / "1")


def largest(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    assert left.shape == right.shape
    return float(np.abs(left - right).max())


def test_packed_and_padded_answers_equal_pytorch_and_each_other(
    exported: tuple[str, Bundle],
) -> None:
    family, bundle = exported
    session = open_session(bundle)
    expected = embed_in_torch(tiny_model(family), SEQUENCES)
    alone = np.concatenate([embed(session, bundle, [[ids]]) for ids in SEQUENCES])
    packed = embed(session, bundle, [SEQUENCES])
    padded = embed(session, bundle, [[ids] for ids in SEQUENCES])
    mixed = embed(session, bundle, [SEQUENCES[:2], SEQUENCES[2:]])
    assert largest(alone, expected) <= TOLERANCE
    assert largest(packed, expected) <= TOLERANCE
    assert largest(padded, expected) <= TOLERANCE
    assert largest(mixed, expected) <= TOLERANCE


def test_every_attention_module_is_fused_and_stays_so_at_load(
    exported: tuple[str, Bundle], tmp_path: Path
) -> None:
    _, bundle = exported
    card = bundle.manifest.card
    assert (card.attention_modules, card.fused_nodes) == (LAYERS, LAYERS)
    disabled = bundle.manifest.sessions["cpu"].disabled_optimizers
    optimized = tmp_path / "optimized.onnx"
    Session(
        bundle.model_path,
        SessionConfig(disabled_optimizers=disabled, optimized_model_path=optimized),
    )
    ops = [node.op_type for node in ir.load(optimized).graph]
    assert ops.count("MultiHeadAttention") == LAYERS
    assert "Softmax" not in ops
    assert "SkipLayerNormalization" not in ops


def test_no_shape_arithmetic_is_left_around_the_fused_nodes(exported: tuple[str, Bundle]) -> None:
    _, bundle = exported
    ops = [node.op_type for node in ir.load(bundle.model_path).graph]
    assert not {"Transpose", "Concat", "Shape"} & set(ops)
    # The head's two.
    assert ops.count("Reshape") == 2


def test_the_manifest_states_the_limits_of_the_model(exported: tuple[str, Bundle]) -> None:
    family, bundle = exported
    manifest = bundle.manifest
    offset = 2 if family in ROBERTA_LIKE else 0
    assert manifest.family == family
    assert manifest.text == TextFiles(
        pad_id=1 if family in ROBERTA_LIKE else 0, position_offset=offset
    )
    assert manifest.limits == Limits(64, VOCABULARY, 64 + offset)
    assert manifest.pooling == Pooling("mean", normalize=True, dimensions=HIDDEN)


def test_nothing_in_the_bundle_names_a_place_on_this_machine(
    exported: tuple[str, Bundle], tmp_path_factory: pytest.TempPathFactory
) -> None:
    family, bundle = exported
    assert bundle.manifest.card.source == family
    for file in bundle.path.iterdir():
        content = file.read_bytes()
        assert b"site-packages" not in content
        assert str(tmp_path_factory.getbasetemp()).encode() not in content
