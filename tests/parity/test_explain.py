"""The explaining graph against PyTorch's eager attention, sequence by sequence.

One row packs two sequences and padding, the other is padded in front: what PyTorch returns for each
sequence alone must stand at its place, and nothing anywhere else.
"""

import numpy as np
import onnx_ir as ir
import pytest
import torch
import zoo
from exports import export_to
from numpy.typing import NDArray

from server.repository.bundle import Bundle, open_bundle
from server.runtime.session import Session, SessionConfig

TOLERANCE = 1e-5
"""FP32 on probabilities from scores of up to a hundred."""

FAMILIES = ("BERT", "ModernBERT", "Llama")
"""Bidirectional; local and global layers with rotations; causal with shared keys."""

FIRST, SECOND, THIRD = [5, 9, 30, 7, 11], [8, 8, 21, 34, 6, 17, 12, 39, 4, 22, 13], [14, 25, 31]
PAD = 4
LENGTH = len(FIRST) + len(SECOND) + PAD
PLACES = (
    (FIRST, 0, slice(0, len(FIRST))),
    (SECOND, 0, slice(len(FIRST), LENGTH - PAD)),
    (THIRD, 1, slice(LENGTH - len(THIRD), LENGTH)),
)
"""Sequence, its row and where it lies there."""


@pytest.fixture(
    scope="module",
    params=[*FAMILIES[:2], pytest.param(FAMILIES[2], marks=pytest.mark.thorough)],
)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[zoo.Architecture, Bundle]:
    architecture = next(one for one in zoo.TEXT if one.name == request.param)
    root = tmp_path_factory.mktemp(architecture.family)
    checkpoint = zoo.save(architecture, root / "tiny")
    assert export_to(root / "models", checkpoint, "--explain") == 0
    return architecture, open_bundle(root / "models" / "tiny" / "1")


def explanation(bundle: Bundle) -> list[NDArray[np.float32]]:
    """Run the packed rows; return attentions and rollout."""
    text = bundle.manifest.text
    assert text is not None
    input_ids = np.full((2, LENGTH), text.pad_id, np.int64)
    segment_ids, position_ids = np.zeros_like(input_ids), np.zeros_like(input_ids)
    for number, (ids, row, place) in enumerate(PLACES, start=1):
        input_ids[row, place] = ids
        segment_ids[row, place] = number
        position_ids[row, place] = text.position_offset + np.arange(len(ids))
    session = Session(bundle.path / "explain.onnx", SessionConfig())
    feeds = {"input_ids": input_ids, "segment_ids": segment_ids, "position_ids": position_ids}
    found = session.run({name: feeds[name] for name in session.input_names})
    return [np.asarray(output, np.float32) for output in found]


def eager(architecture: zoo.Architecture, ids: list[int]) -> NDArray[np.float32]:
    """Return (layers, heads, length, length) of one sequence alone."""
    model = zoo.build(architecture)
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        output = model(input_ids=torch.tensor([ids]), output_attentions=True)
    stacked: NDArray[np.float32] = torch.cat(output.attentions).numpy()
    return stacked


def test_probabilities_are_those_of_eager_attention(
    exported: tuple[zoo.Architecture, Bundle],
) -> None:
    architecture, bundle = exported
    attentions, _ = explanation(bundle)
    left = attentions.copy()
    for ids, row, place in PLACES:
        found = attentions[:, row, :, place, place]
        assert np.abs(found - eager(architecture, ids)).max() <= TOLERANCE
        left[:, row, :, place, place] = 0
    assert not left.any()


def test_rollout_is_that_of_the_eager_probabilities(
    exported: tuple[zoo.Architecture, Bundle],
) -> None:
    architecture, bundle = exported
    _, rollout = explanation(bundle)
    for ids, row, place in PLACES:
        expected = np.eye(len(ids))
        for layer in eager(architecture, ids):
            mixed = layer.mean(axis=0) + np.eye(len(ids))
            expected = mixed / mixed.sum(axis=1, keepdims=True) @ expected
        assert np.abs(rollout[row, place, place] - expected).max() <= TOLERANCE
    np.testing.assert_allclose(rollout.sum(axis=2), 1.0, atol=TOLERANCE)


def test_the_weights_are_in_one_file(exported: tuple[zoo.Architecture, Bundle]) -> None:
    _, bundle = exported
    model, explained = ir.load(bundle.model_path), ir.load(bundle.path / "explain.onnx")
    files = {place[0] for place in places(explained).values()}
    assert files == {"model.onnx.data"}
    shared = places(model).keys() & places(explained).keys()
    assert shared
    assert all(places(model)[name] == places(explained)[name] for name in shared)


def places(model: ir.Model) -> dict[str, tuple[str, int | None, int | None]]:
    """Return file, offset and length of every weight outside the graph's own file."""
    found = {}
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            found[name] = (str(tensor.location), tensor.offset, tensor.length)
    return found
