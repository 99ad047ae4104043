"""`heed-export compare`: what two bundles have in common, and what they have not."""

import json
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import onnx_ir as ir
import pytest
from checkpoints import WORDS
from edited import edited, replace_output
from onnx_ir.tape import Tape

from export.errors import EvalFileInvalid
from export.inspect import comparison
from export.inspect.side import Side, built_in, read_texts
from server.errors import BundleCorrupt
from server.repository.bundle import Bundle

ASKED = [(f"{first} {second}", None) for first, second in pairwise(WORDS)]


def compared(left: Bundle, right: Bundle) -> comparison.Comparison:
    sides = Side.open(left.path), Side.open(right.path)
    return comparison.compare(*sides, ASKED, seconds=None)


def figures(found: comparison.Comparison) -> dict[str, float]:
    return {one.measure: one.bundle for one in found.answers}


def add_noise(model: ir.Model) -> None:
    """Move every weight by about a hundredth of its layer's reach."""
    draw = np.random.default_rng(1)
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.dtype == ir.DataType.FLOAT and tensor.size > 1000:
            array = tensor.numpy()
            noise = draw.standard_normal(array.shape) * 0.01 * np.abs(array).max()
            value.const_value = ir.tensor((array + noise).astype(np.float32), name=value.name)


def test_a_bundle_agrees_with_itself(bert_bundle: Bundle) -> None:
    found = compared(bert_bundle, bert_bundle)
    assert found.left == found.right
    assert found.left.fused == "2 com.microsoft.MultiHeadAttention"
    assert figures(found) == pytest.approx(
        {"mean cosine": 1.0, "worst cosine": 1.0, "rank correlation of similarities": 1.0}
    )
    assert {one.count for one in found.answers} == {len(ASKED)}
    assert found.notes == ()


def test_other_weights_give_other_answers(bert_bundle: Bundle, tmp_path: Path) -> None:
    other = edited(bert_bundle, tmp_path, add_noise, name="noisy")
    found = compared(bert_bundle, other)
    assert found.right.bundle == "noisy/1"
    assert 0.5 < figures(found)["worst cosine"] < figures(found)["mean cosine"] < 0.9999


def test_embeddings_of_different_width_share_only_the_order_of_their_similarities(
    bert_bundle: Bundle, tmp_path: Path
) -> None:
    def cut(model: ir.Model) -> None:
        def change(output: ir.Value) -> ir.Value:
            tape = Tape(model.graph)
            ends = [tape.initializer(ir.tensor([n], name=f"cut.{n}")) for n in (0, 16, 1)]
            return tape.op("Slice", [output, *ends])

        replace_output(model, change, ir.Shape(["sequences", 16]))

    manifest = bert_bundle.manifest
    assert manifest.pooling is not None
    narrow = edited(
        bert_bundle,
        tmp_path,
        cut,
        name="narrow",
        pooling=msgspec.structs.replace(manifest.pooling, dimensions=16),
        outputs=(msgspec.structs.replace(manifest.outputs[0], shape=(-1, 16)),),
    )
    for pair in ((bert_bundle, narrow), (narrow, bert_bundle)):
        found = figures(compared(*pair))
        assert found.keys() == {"rank correlation of similarities"}
        assert 0.3 < found["rank correlation of similarities"] < 0.99


def test_bundles_of_different_tasks_are_compared_in_everything_but_answers(
    bert_bundle: Bundle, tmp_path: Path
) -> None:
    other = edited(bert_bundle, tmp_path, name="other", task="sparse-embed")
    found = compared(bert_bundle, other)
    assert found.answers == ()
    assert found.notes == ("answers cannot be compared: the tasks are embed and sparse-embed",)
    assert found.right.size_bytes == found.left.size_bytes


def test_times_are_taken_at_shapes_that_both_can_run(bert_bundle: Bundle) -> None:
    side = Side.open(bert_bundle.path)
    found = comparison.compare(side, side, ASKED[:2], seconds=0.0)
    # The model takes 64 tokens.
    assert [one.shape for one in found.times] == ["1x16", "8x32", "1x64"]
    assert all(min(one.left_ms, one.right_ms, one.speedup) > 0 for one in found.times)


def test_the_command_prints_a_table_or_json(
    bert_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(text for text, _ in ASKED))
    path = str(bert_bundle.path)
    words = [path, path, "--no-measure", "--texts", str(texts)]
    assert comparison.run(comparison.parser().parse_args(words)) == 0
    assert "worst cosine" in capsys.readouterr().out
    assert comparison.run(comparison.parser().parse_args([*words, "--json"])) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["left"]["precision"] == "fp32"
    assert found["answers"][0]["count"] == len(ASKED)


def test_a_damaged_bundle_is_refused(bert_bundle: Bundle, tmp_path: Path) -> None:
    path = edited(bert_bundle, tmp_path).path
    (path / "model.onnx").write_bytes(b"")
    with pytest.raises(BundleCorrupt, match=r"model\.onnx has 0 bytes"):
        Side.open(path)


@pytest.mark.parametrize(
    ("task", "content", "message"),
    [
        ("embed", "one\n\nthree", "line 2: task embed takes one text"),
        ("embed", "one\ttwo\nthree", "line 1: task embed takes one text"),
        ("rerank", "one\ttwo\nthree", "line 2: task rerank takes two texts with a tab between"),
        ("embed", "one", "has 1 texts; at least 2"),
        ("embed", b"\xff\xfe", "is not UTF-8"),
    ],
)
def test_a_file_of_texts_that_does_not_fit_the_task_is_refused(
    task: str, content: str | bytes, message: str, bert_bundle: Bundle, tmp_path: Path
) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    manifest = msgspec.structs.replace(bert_bundle.manifest, task=task)
    with pytest.raises(EvalFileInvalid, match=message):
        read_texts(file, manifest)


def test_the_built_in_texts_are_pairs_where_the_task_takes_two(bert_bundle: Bundle) -> None:
    manifest = bert_bundle.manifest
    assert {second for _, second in built_in(manifest)} == {None}
    pairs = built_in(msgspec.structs.replace(manifest, task="rerank"))
    assert all(second is not None for _, second in pairs)
