"""A work directory gives back exactly what was kept, and nothing that is not all there."""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from export.errors import ExportFailed
from export.kinds.kind import Interface
from export.kinds.text import TextOptions
from export.locate import Checkpoint
from export.proof.case import Case
from export.traced import Traced, TraceOptions
from export.work import evaluated, resume
from export.work.fingerprint import fingerprint
from export.workspace import TRACED, Workspace
from server.repository.manifest import Limits, Pooling, TensorSpec, TextFiles

MARK = "a" * 64
IDS = np.array([[3, 1, 4], [1, 5, 0]], np.int64)
ANSWER = np.array([[0.5, np.nan], [-2.0, 1e-30]], np.float32)
TRACE = Traced(
    task="embed",
    interface=Interface(
        family="bert",
        hidden_size=2,
        inputs=(TensorSpec("input_ids", "INT64", (-1, -1)),),
        outputs=(TensorSpec("sentence_embedding", "FP32", (-1, 2), "sequence"),),
        limits=Limits(8, 9, 10),
        text=TextFiles(pad_id=1),
        pooling=Pooling("mean", normalize=True, dimensions=2),
    ),
    attention_classes=("BertSelfAttention",) * 2,
    unfused=(),
    cases=(
        Case("packed", {"input_ids": IDS}, {"sentence_embedding": ANSWER}),
        Case("single", {"input_ids": IDS[:1].T}, {"sentence_embedding": ANSWER[:1]}),
    ),
    samples=(Case("text", {"input_ids": IDS}, {"sentence_embedding": ANSWER}),),
    evaluation=None,
    notes=("something to know",),
    checkpoint_bytes=1,
)


@pytest.fixture
def kept(tmp_path: Path) -> Workspace:
    """A work directory with one trace."""
    workspace = Workspace(tmp_path / "work")
    workspace.path(TRACED).write_bytes(b"graph")
    (workspace.directory / f"{TRACED}.onnx.data").write_bytes(b"weights")
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "tokenizer.json").write_text("{}")
    resume.save(workspace, MARK, TRACE, bundle)
    return workspace


def test_what_was_kept_comes_back(kept: Workspace, tmp_path: Path) -> None:
    target = tmp_path / "next"
    found = resume.load(kept, MARK, target)
    assert found is not None
    assert (found.task, found.interface, found.notes) == ("embed", TRACE.interface, TRACE.notes)
    assert [case.name for case in found.cases] == ["packed", "single"]
    for before, after in zip(
        (*TRACE.cases, *TRACE.samples), (*found.cases, *found.samples), strict=True
    ):
        for left, right in ((before.feeds, after.feeds), (before.expected, after.expected)):
            assert left.keys() == right.keys()
            for name, values in left.items():
                np.testing.assert_array_equal(right[name], values)
                assert right[name].dtype == values.dtype
    assert (target / "tokenizer.json").read_text() == "{}"
    assert resume.load(kept, MARK, target) is not None


def test_another_fingerprint_finds_nothing_and_forgets_what_was_there(
    kept: Workspace, tmp_path: Path
) -> None:
    assert resume.load(kept, "b" * 64, tmp_path / "next") is None
    # The graph is about to be overwritten: from here on the old trace must not be found either.
    assert resume.load(kept, MARK, tmp_path / "next") is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda work: (work / f"{TRACED}.onnx.data").write_bytes(b"wei"),
        lambda work: (work / f"{TRACED}.onnx").unlink(),
        lambda work: (work / "answers.npz").write_bytes(b""),
        lambda work: (work / "answers.npz").write_bytes(
            bytes(len((work / "answers.npz").read_bytes()))
        ),
        lambda work: (work / "evaluation.pickle").write_bytes(b"...."),
        lambda work: shutil.rmtree(work / "files"),
        lambda work: (work / "resume.json").write_bytes((work / "resume.json").read_bytes()[:-9]),
        lambda work: (work / "resume.json").write_bytes(b"{}"),
        lambda work: (work / "resume.json").rename(work / "resume.json.part"),
    ],
)
def test_half_of_a_trace_is_none(
    damage: Callable[[Path], object], kept: Workspace, tmp_path: Path
) -> None:
    damage(kept.directory)
    assert resume.load(kept, MARK, tmp_path / "next") is None


def test_a_save_that_fails_leaves_no_marker(kept: Workspace, tmp_path: Path) -> None:
    assert resume.load(kept, "b" * 64, tmp_path / "next") is None
    with pytest.raises(OSError, match="missing"):
        resume.save(kept, "b" * 64, TRACE, tmp_path / "missing")
    assert resume.load(kept, "b" * 64, tmp_path / "next") is None


def test_a_work_directory_is_for_one_export_at_a_time(tmp_path: Path) -> None:
    with (
        resume.held(tmp_path),
        pytest.raises(ExportFailed, match="another export works in"),
        resume.held(tmp_path),
    ):
        pytest.fail("two exports share a directory")
    with resume.held(tmp_path) as workspace:
        assert workspace.directory == tmp_path


class Calls:
    """Runs a command when it is read."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("false",)


@pytest.mark.parametrize(
    "data", [pickle.dumps(Calls()), pickle.dumps(np.memmap), pickle.dumps("text"), b"", b"\x80"]
)
def test_bytes_that_are_no_evaluation_are_refused(data: bytes) -> None:
    with pytest.raises(evaluated.Untrusted):
        evaluated.decode(data)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    directory = tmp_path / "checkpoint"
    (directory / "1_Pooling").mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    (directory / "1_Pooling" / "config.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(bytes(3000))
    return Checkpoint(directory, "somewhere", "name")


OPTIONS = TraceOptions(text=TextOptions(), tower=None, allow_unfused=False, num_samples=0)


def test_a_copy_is_the_same_checkpoint(checkpoint: Checkpoint, tmp_path: Path) -> None:
    before = fingerprint(checkpoint, "embed", OPTIONS)
    copy = Path(shutil.copytree(checkpoint.directory, tmp_path / "copy"))
    os.utime(copy / "model.safetensors", (1, 1))
    (copy / "README.md").write_text("for people")
    assert fingerprint(Checkpoint(copy, "elsewhere", "other"), "embed", OPTIONS) == before


def test_what_a_trace_depends_on_changes_the_fingerprint(checkpoint: Checkpoint) -> None:
    found = {
        fingerprint(checkpoint, "embed", OPTIONS),
        fingerprint(checkpoint, "fill-mask", OPTIONS),
        fingerprint(
            checkpoint,
            "embed",
            TraceOptions(TextOptions(max_tokens=9), None, allow_unfused=False, num_samples=0),
        ),
    }
    weights = checkpoint.directory / "model.safetensors"
    for file, data in (
        # In the middle, as two fine-tuned models differ.
        (weights, bytes(1500) + b"\x01" + bytes(1499)),
        (checkpoint.directory / "1_Pooling" / "config.json", b"[]"),
    ):
        file.write_bytes(data)
        found.add(fingerprint(checkpoint, "embed", OPTIONS))
    assert len(found) == 5
