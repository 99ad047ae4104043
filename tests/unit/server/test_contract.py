"""A manifest holds what its task needs, or is refused by the field's name."""

from typing import Any

import pytest
from bundles import HIDDEN, MAX_TOKENS, TAGS, VOCABULARY, manifest

from server.errors import BundleCorrupt
from server.repository.contract import require_complete
from server.repository.manifest import (
    Explain,
    FileDigest,
    Labels,
    Limits,
    Manifest,
    Pooling,
    TensorSpec,
    TextFiles,
)

DIGEST = FileDigest("0" * 64, 1)
FILES = {"model.onnx": DIGEST, "tokenizer.json": DIGEST}
EMBEDDING = TensorSpec("sentence_embedding", "FP32", (-1, HIDDEN), "sequence")
IDS = manifest("tiny", 1).inputs
LABELS = Labels(TAGS, "single")


def out(per: Any, *shape: int, name: str = "logits", datatype: Any = "FP32") -> TensorSpec:
    return TensorSpec(name, datatype, shape, per)


def text(**changes: Any) -> Manifest:
    return manifest("tiny", 1, **{"files": FILES} | changes)


def of_task(task: str, *outputs: TensorSpec, **changes: Any) -> Manifest:
    return text(**{"task": task, "outputs": outputs, "pooling": None} | changes)


def rows(task: str = "tensors", **changes: Any) -> Manifest:
    whole = {
        "task": task,
        "mask": "none",
        "limits": None,
        "text": None,
        "pooling": None,
        "inputs": (TensorSpec("pixels", "FP32", (-1, 3, 8, 8)),),
        "outputs": (TensorSpec("logits", "FP32", (-1, len(TAGS))),),
    }
    return text(**whole | changes)


START, END = (out("token", -1, -1, name=f"{end}_logits") for end in ("start", "end"))


@pytest.mark.parametrize(
    "complete",
    [
        text(),
        of_task("sparse-embed", out("sequence", -1, VOCABULARY)),
        of_task("rerank", out("sequence", -1, 1), labels=Labels(("score",), "multi")),
        of_task("classify", out("sequence", -1, 3), EMBEDDING, labels=LABELS),
        of_task("token-classify", out("token", -1, -1, 3), labels=LABELS),
        of_task("question-answer", START, END),
        of_task("fill-mask", out("mask", -1, VOCABULARY), text=TextFiles(mask_id=4)),
        text(inputs=(*IDS, TensorSpec("token_type_ids", "INT64", (-1, -1)))),
        rows(),
        rows(
            "image-classify",
            labels=LABELS,
            processor="preprocessor.json",
            files=FILES | {"preprocessor.json": DIGEST},
        ),
        rows(
            "detect",
            labels=LABELS,
            outputs=(out("row", -1, 100, 4), out("row", -1, 100, 4, name="boxes")),
        ),
        rows("segment", labels=LABELS, outputs=(out("row", -1, 3, -1, -1),)),
        # The text tower of an image model has ids to check and nothing to pack.
        rows(limits=Limits(64, VOCABULARY, 64)),
    ],
    ids=lambda complete: complete.task,
)
def test_complete_manifest_is_taken(complete: Manifest) -> None:
    require_complete(complete)


@pytest.mark.parametrize(
    ("broken", "hint"),
    [
        (text(text=None), "text is missing, which task embed needs"),
        (text(limits=None), "limits is missing"),
        (text(pooling=None), "pooling is missing"),
        (text(mask="none"), "mask is none; task embed needs segment_ids"),
        (rows(mask="segment_ids"), "mask is segment_ids; task tensors needs none"),
        (text(inputs=IDS[:2]), "inputs must be input_ids, segment_ids, position_ids"),
        (text(inputs=(*IDS, IDS[0])), "inputs is empty or names a tensor twice"),
        (text(outputs=()), "outputs is empty"),
        (
            text(inputs=(*IDS[:2], TensorSpec("position_ids", "INT32", (-1, -1)))),
            "input position_ids must be INT64",
        ),
        (text(outputs=(out("row", -1, HIDDEN),)), "is per row, but rows hold several sequences"),
        (text(outputs=(out("token", -1, -1, HIDDEN),)), "must begin with one per sequence"),
        (text(outputs=(out("sequence", 5, HIDDEN),)), "per sequence must have shape [-1, '...']"),
        (text(outputs=(EMBEDDING, START, out("token", -1, 5))), "must have shape [-1, -1, '...']"),
        (text(pooling=Pooling("cls", normalize=True, dimensions=5)), "pooling.dimensions"),
        (text(text=TextFiles(pad_id=VOCABULARY)), "text.pad_id"),
        (text(text=TextFiles(position_offset=2)), "exceed limits.max_position"),
        (text(files={}), "files has no digest for tokenizer.json, which text.tokenizer names"),
        (text(processor="other.json"), "no digest for other.json, which processor names"),
        (
            text(explain=Explain("explain.onnx", (START,))),
            "no digest for explain.onnx, which explain.model names",
        ),
        (of_task("classify", out("sequence", -1, 3)), "labels is missing, which task classify"),
        (
            of_task("classify", out("sequence", -1, 2), labels=LABELS),
            "labels.names has 3 entries for 2 values",
        ),
        (
            of_task("classify", out("sequence", -1, 3), labels=Labels(TAGS, "multi", (0.5,))),
            "labels.thresholds",
        ),
        (of_task("question-answer", START), "must begin with one per token and one per token"),
        (of_task("fill-mask", out("mask", -1, VOCABULARY)), "text.mask_id"),
        (
            of_task("fill-mask", out("mask", -1, VOCABULARY), text=TextFiles(mask_id=0)),
            "text.mask_id must be a token of the vocabulary other than text.pad_id",
        ),
        (rows(text=TextFiles()), "belong to text tasks"),
        (rows(inputs=(TensorSpec("pixels", "FP32", (1, 8)),)), "pixels must have a free first"),
        (rows(inputs=(TensorSpec("pixels", "BF16", (-1, 8)),)), "pixels is BF16"),
        (rows(outputs=(out("row", -1, 3, datatype="BYTES"),)), "logits is BYTES"),
        (rows("image-classify"), "labels is missing, which task image-classify"),
        (rows("detect", labels=LABELS), "must begin with one per row and one per row"),
    ],
)
def test_incomplete_manifest_is_refused_by_the_name_of_the_field(
    broken: Manifest, hint: str
) -> None:
    with pytest.raises(BundleCorrupt) as caught:
        require_complete(broken)

    assert hint in str(caught.value)


def test_limits_leave_room_for_the_longest_sequence() -> None:
    require_complete(
        text(text=TextFiles(position_offset=2), limits=Limits(MAX_TOKENS, 64, MAX_TOKENS + 2))
    )
