"""Vision and speech models and single towers, traced, fused and compared with PyTorch."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from checkpoints import VOCABULARY
from zoo_tensors import TENSORS, TensorArchitecture, save

from export import load
from export.convert import Converted
from export.errors import CheckpointUnsupported, ContractBroken
from export.graph.fused import MULTI_HEAD, fused_nodes
from export.kinds.tensors import TensorKind
from export.proof import contract
from export.proof.parity import TOLERANCES, compare
from server.runtime.session import Session, SessionConfig

BY_NAME = {architecture.name: architecture for architecture in TENSORS}
TOLERANCE = 1e-4
ROWS = [1, 2, 5]

# `test_supported` proves one form of each on every run.
pytestmark = pytest.mark.thorough


@dataclass(frozen=True, slots=True)
class Exported:
    """One architecture on its way from a checkpoint to a session."""

    architecture: TensorArchitecture
    checkpoint: Path
    kind: TensorKind
    converted: Converted
    optimized: Path
    session: Session


def open_kind(architecture: TensorArchitecture, checkpoint: Path) -> TensorKind:
    config = load.read_config(checkpoint)
    if architecture.tower is not None:
        loaded = load.load_tower(checkpoint, config, architecture.tower)
    else:
        loaded = load.load(checkpoint, config, architecture.task)
    return TensorKind(loaded.module, loaded.config, loaded.directory, loaded.task)


@pytest.fixture(scope="module", params=TENSORS, ids=lambda one: one.name)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    architecture: TensorArchitecture = request.param
    root = tmp_path_factory.mktemp("tensors")
    checkpoint = save(architecture, root / "checkpoint")
    kind = open_kind(architecture, checkpoint)
    converted = kind.convert()
    ir.save(converted.model, root / "model.onnx", external_data="model.onnx.data")
    optimized = root / "optimized.onnx"
    session = Session(root / "model.onnx", SessionConfig(optimized_model_path=optimized))
    return Exported(architecture, checkpoint, kind, converted, optimized, session)


def test_batches_of_several_sizes_answer_as_pytorch_does(exported: Exported) -> None:
    cases = exported.kind.cases()
    assert [len(next(iter(case.feeds.values()))) for case in cases] == ROWS
    measured = compare(exported.session, cases, TOLERANCES["fp32"])
    assert all(parity.difference <= TOLERANCE for parity in measured)


def test_answers_depend_on_the_row_far_beyond_the_tolerance(exported: Exported) -> None:
    _, _, batch = exported.kind.cases()
    for name, expected in batch.expected.items():
        size = max(1.0, float(np.abs(expected).max()))
        assert np.abs(expected[0] - expected[1]).max() > 100 * TOLERANCE * size, name


def test_a_row_answers_the_same_alone_as_in_a_batch(exported: Exported) -> None:
    _, _, batch = exported.kind.cases()
    together = exported.session.run(batch.feeds)
    for row in range(ROWS[-1]):
        alone = exported.session.run({n: part[row : row + 1] for n, part in batch.feeds.items()})
        for whole, single in zip(together, alone, strict=True):
            np.testing.assert_allclose(single[0], whole[row], rtol=TOLERANCE, atol=TOLERANCE)


def test_every_attention_is_one_fused_node_and_stays_so_at_load(exported: Exported) -> None:
    model, classes = exported.converted.model, exported.converted.attention_classes
    assert contract.check(model, classes) == ()
    ops = [node.op_type for node in fused_nodes(model)]
    assert ops == [MULTI_HEAD] * exported.architecture.attentions
    contract.check_served(ir.load(exported.optimized), exported.architecture.attentions)
    assert "Softmax" not in [node.op_type for node in model.graph.all_nodes()]


def test_the_interface_states_what_the_session_takes_and_gives(exported: Exported) -> None:
    interface = exported.kind.interface
    assert exported.session.input_names == tuple(spec.name for spec in interface.inputs)
    assert exported.session.output_names == exported.architecture.outputs
    assert exported.architecture.outputs == tuple(spec.name for spec in interface.outputs)
    assert {spec.shape[0] for spec in (*interface.inputs, *interface.outputs)} == {-1}
    assert {spec.per for spec in interface.outputs} == {"row"}
    assert interface.hidden_size == 32
    assert not interface.is_packed


def test_processor_or_tokenizer_is_in_the_bundle(exported: Exported, tmp_path: Path) -> None:
    exported.kind.save_files(tmp_path)
    name = "tokenizer.json" if exported.architecture.kind == "text" else "preprocessor_config.json"
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == (exported.checkpoint / name).read_bytes()
    processor = exported.kind.interface.processor
    assert processor == (None if exported.architecture.kind == "text" else name)


def test_samples_are_single_rows_that_the_session_answers(exported: Exported) -> None:
    samples = exported.kind.samples(3)
    assert [len(next(iter(sample.feeds.values()))) for sample in samples] == [1, 1, 1]
    assert compare(exported.session, samples, TOLERANCES["fp32"])


@pytest.mark.parametrize(
    ("name", "names", "kind"),
    [
        ("ViT", ("cat", "dog", "heron"), "single"),
        ("SegFormer", ("cat", "dog", "heron"), "single"),
        ("YOLOS", ("cat", "dog", "heron", "no object"), "single"),
    ],
)
def test_labels_name_every_score(
    name: str, names: tuple[str, ...], kind: str, tmp_path: Path
) -> None:
    labels = open_kind(BY_NAME[name], save(BY_NAME[name], tmp_path)).interface.labels
    assert labels is not None
    assert (labels.names, labels.kind) == (names, kind)


def test_a_detector_without_a_score_for_nothing_judges_labels_apart(tmp_path: Path) -> None:
    conditional = replace(
        BY_NAME["DETR"],
        family="conditional_detr",
        model_class="ConditionalDetrForObjectDetection",
    )
    labels = open_kind(conditional, save(conditional, tmp_path)).interface.labels
    assert labels is not None
    assert (labels.names, labels.kind) == (("cat", "dog", "heron"), "multi")


def test_image_size_of_the_caller_overrules_the_checkpoint(tmp_path: Path) -> None:
    detr = BY_NAME["DETR"]
    loaded = load.load(save(detr, tmp_path), load.read_config(tmp_path), detr.task)
    kind = TensorKind(
        loaded.module, loaded.config, loaded.directory, loaded.task, image_size=(40, 64)
    )
    shapes = {spec.name: spec.shape for spec in kind.interface.inputs}
    assert shapes == {"pixel_values": (-1, 3, 40, 64), "pixel_mask": (-1, 40, 64)}
    assert "images are 40 x 64 pixels, from the command line" in kind.notes


def test_size_that_the_model_does_not_take_is_refused(tmp_path: Path) -> None:
    save(BY_NAME["ViT"], tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 64}))
    kind = open_kind(BY_NAME["ViT"], tmp_path)
    with pytest.raises(CheckpointUnsupported, match="does not take pixel_values"):
        kind.convert()


def test_a_model_of_two_towers_asks_which(tmp_path: Path) -> None:
    whole = replace(BY_NAME["CLIP text"], tower=None)
    save(whole, tmp_path)
    with pytest.raises(CheckpointUnsupported, match="pass --tower text or --tower vision"):
        open_kind(whole, tmp_path)


def test_a_pooler_that_the_checkpoint_lacks_is_no_output(tmp_path: Path) -> None:
    save(BY_NAME["ViT"], tmp_path)
    kind = open_kind(replace(BY_NAME["ViT"], task="tensors"), tmp_path)
    assert [spec.name for spec in kind.interface.outputs] == ["last_hidden_state"]


def test_pooling_that_a_classifier_ignores_is_not_traced(tmp_path: Path) -> None:
    siglip = replace(
        BY_NAME["SigLIP vision"],
        config={**BY_NAME["SigLIP vision"].config, "id2label": {0: "cat", 1: "dog"}},
        model_class="SiglipForImageClassification",
        task="image-classify",
        tower=None,
    )
    converted = open_kind(siglip, save(siglip, tmp_path)).convert()
    assert contract.check(converted.model, converted.attention_classes) == ()
    assert converted.attention_classes == ("SiglipAttention",) * 2


def test_a_model_without_attention_is_refused(tmp_path: Path) -> None:
    convnext = TensorArchitecture(
        "ConvNeXt",
        "convnext",
        {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "image_size": 32},
        "ConvNextModel",
        "tensors",
    )
    converted = open_kind(convnext, save(convnext, tmp_path)).convert()
    with pytest.raises(ContractBroken, match="no attention at all"):
        contract.check(converted.model, converted.attention_classes)


def test_padding_of_a_text_changes_no_embedding(tmp_path: Path) -> None:
    kind = open_kind(BY_NAME["CLIP text"], save(BY_NAME["CLIP text"], tmp_path))
    ir.save(kind.convert().model, tmp_path / "model.onnx")
    session = Session(tmp_path / "model.onnx", SessionConfig())
    draw = np.random.default_rng(3)
    ids = np.concatenate([draw.integers(4, VOCABULARY, (2, 6)), np.full((2, 1), 3)], axis=1)
    padded = np.pad(ids, ((0, 0), (0, 4)))
    alone, _ = session.run({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    beside, _ = session.run({"input_ids": padded, "attention_mask": (padded > 0).astype(np.int64)})
    np.testing.assert_allclose(beside.astype(np.float32), alone.astype(np.float32), atol=TOLERANCE)
