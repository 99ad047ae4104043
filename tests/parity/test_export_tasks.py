"""Every text task: the head in the graph, packed, against transformers on each sequence alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import transformers
from checkpoints import FAMILIES, HIDDEN, VOCABULARY, save_checkpoint, save_tokenizer
from exports import TOLERANCE, open_session, packed_feeds
from numpy.typing import NDArray
from safetensors.numpy import save_file
from transformers import AutoConfig, PreTrainedModel
from zoo import TEXT

from export.cli import main
from server.repository.bundle import Bundle, open_bundle

SEQUENCES = ([5, 9, 30, 7], [8, 21, 34], [11, 12])
LLAMA = next(one for one in TEXT if one.family == "llama")
MODERN = next(one for one in TEXT if one.family == "modernbert")


def saved(directory: Path, model_class: str, family: str, **settings: Any) -> PreTrainedModel:
    """Write a seeded checkpoint of a class with a head and return the model."""
    torch.manual_seed(11)
    shapes: dict[str, Mapping[str, Any]] = {
        **FAMILIES, "llama": LLAMA.config, "modernbert": MODERN.config,
    }  # fmt: skip
    config = AutoConfig.for_model(family, **{**shapes[family], **settings})
    model = cast("PreTrainedModel", getattr(transformers, model_class).from_config(config).eval())
    model.save_pretrained(directory)
    save_tokenizer(directory, config.pad_token_id or 0)
    return model


def exported(directory: Path, *options: str) -> Bundle:
    """Export without saying the task."""
    out = directory.parent / "models"
    assert main([str(directory), "--out", str(out), "--no-measure", *options]) == 0
    return open_bundle(out / directory.name / "1")


def answers(bundle: Bundle, *, types: bool = False) -> list[NDArray[np.float32]]:
    """Run all sequences in one row."""
    feeds = packed_feeds(bundle, [SEQUENCES])
    if types:
        feeds["token_type_ids"] = (np.arange(feeds["input_ids"].shape[1]) % 2)[None]
    return [answer.astype(np.float32) for answer in open_session(bundle).run(feeds)]


def near(found: NDArray[np.float32], expected: torch.Tensor) -> None:
    np.testing.assert_allclose(found, expected.numpy(), atol=TOLERANCE * 10, rtol=TOLERANCE)


@pytest.mark.parametrize(
    ("family", "labels", "task", "kind"),
    [
        ("bert", 3, "classify", "single"),
        pytest.param("roberta", 1, "rerank", "multi", marks=pytest.mark.thorough),
        pytest.param("modernbert", 2, "classify", "single", marks=pytest.mark.thorough),
        ("llama", 1, "rerank", "multi"),
    ],
)
def test_sequence_classification(
    family: str, labels: int, task: str, kind: str, tmp_path: Path
) -> None:
    model = saved(
        tmp_path / "model", "AutoModelForSequenceClassification", family, num_labels=labels
    )
    bundle = exported(tmp_path / "model")
    manifest = bundle.manifest
    assert manifest.task == task
    assert manifest.labels is not None
    assert (len(manifest.labels.names), manifest.labels.kind) == (labels, kind)
    types = any(spec.name == "token_type_ids" for spec in manifest.inputs)
    assert types == (family == "bert")
    (logits,) = answers(bundle, types=types)
    start = 0
    for row, ids in enumerate(SEQUENCES):
        keywords = {}
        if types:
            keywords["token_type_ids"] = torch.arange(start, start + len(ids))[None] % 2
        with torch.inference_mode():
            near(logits[row], model(input_ids=torch.tensor([ids]), **keywords).logits[0])
        start += len(ids)


def test_token_classification_and_its_labels(tmp_path: Path) -> None:
    names = {0: "O", 1: "B-PER", 2: "I-PER"}
    model = saved(
        tmp_path / "model", "AutoModelForTokenClassification", "distilbert", id2label=names
    )
    bundle = exported(tmp_path / "model")
    assert bundle.manifest.task == "token-classify"
    assert bundle.manifest.labels is not None
    assert bundle.manifest.labels.names == ("O", "B-PER", "I-PER")
    (logits,) = answers(bundle)
    start = 0
    for ids in SEQUENCES:
        with torch.inference_mode():
            expected = model(input_ids=torch.tensor([ids])).logits[0]
        near(logits[0, start : start + len(ids)], expected)
        start += len(ids)


def test_question_answering_gives_both_ends(tmp_path: Path) -> None:
    model = saved(tmp_path / "model", "AutoModelForQuestionAnswering", "roberta")
    bundle = exported(tmp_path / "model")
    assert [spec.name for spec in bundle.manifest.outputs] == ["start_logits", "end_logits"]
    starts, ends = answers(bundle)
    with torch.inference_mode():
        expected = model(input_ids=torch.tensor([SEQUENCES[0]]))
    near(starts[0, : len(SEQUENCES[0])], expected.start_logits[0])
    near(ends[0, : len(SEQUENCES[0])], expected.end_logits[0])


def test_fill_mask_answers_only_where_a_mask_is(tmp_path: Path) -> None:
    model = saved(tmp_path / "model", "AutoModelForMaskedLM", "bert")
    bundle = exported(tmp_path / "model")
    text = bundle.manifest.text
    assert text is not None
    assert text.mask_id is not None
    sequences = ([5, text.mask_id, 7], [8, 21], [text.mask_id, text.mask_id, 3])
    (found,) = open_session(bundle).run(packed_feeds(bundle, [sequences]))
    logits = found.astype(np.float32)
    assert logits.shape == (3, VOCABULARY)
    with torch.inference_mode():
        near(logits[0], model(input_ids=torch.tensor([sequences[0]])).logits[0, 1])
        near(logits[1:], model(input_ids=torch.tensor([sequences[2]])).logits[0, :2])


def test_sparse_embedding_is_the_largest_weight_of_each_term(tmp_path: Path) -> None:
    model = saved(tmp_path / "model", "AutoModelForMaskedLM", "distilbert")
    bundle = exported(tmp_path / "model", "--task", "sparse-embed")
    (weights,) = answers(bundle)
    for row, ids in enumerate(SEQUENCES):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids])).logits[0]
        near(weights[row], torch.log1p(torch.relu(logits)).amax(dim=0))


@pytest.mark.parametrize("pooling", [pytest.param("max", marks=pytest.mark.thorough), "lasttoken"])
def test_poolings_by_segment(pooling: str, tmp_path: Path) -> None:
    bundle = exported(save_checkpoint(tmp_path / "model", pooling=pooling, normalize=False))
    (vectors,) = answers(bundle)
    model = transformers.AutoModel.from_pretrained(tmp_path / "model", attn_implementation="eager")
    for row, ids in enumerate(SEQUENCES):
        with torch.inference_mode():
            states = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        near(vectors[row], states.amax(dim=0) if pooling == "max" else states[-1])


def test_dense_layers_and_a_matryoshka_cut_come_before_the_norm(tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "model")
    layer = {
        "linear.weight": np.random.default_rng(3).normal(size=(12, HIDDEN)).astype(np.float32),
        "linear.bias": np.ones(12, np.float32),
    }
    (directory / "2_Dense").mkdir()
    save_file(layer, directory / "2_Dense" / "model.safetensors")
    (directory / "2_Dense" / "config.json").write_text(
        '{"activation_function": "torch.nn.modules.activation.Tanh"}'
    )
    modules = (directory / "modules.json").read_text()
    dense = '{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}, {"idx": 2'
    (directory / "modules.json").write_text(modules.replace('{"idx": 2', dense))
    bundle = exported(directory, "--dimensions", "5")
    (vectors,) = answers(bundle)
    model = transformers.AutoModel.from_pretrained(directory, attn_implementation="eager")
    with torch.inference_mode():
        states = model(input_ids=torch.tensor([SEQUENCES[0]])).last_hidden_state[0].mean(dim=0)
    projected = np.tanh(layer["linear.weight"] @ states.numpy() + layer["linear.bias"])[:5]
    np.testing.assert_allclose(vectors[0], projected / np.linalg.norm(projected), atol=1e-5)
