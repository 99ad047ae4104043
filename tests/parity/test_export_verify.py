"""`heed-export verify`: a sound bundle passes every check, each fault fails its own."""

import json
import subprocess
import sys
from pathlib import Path

import onnx_ir as ir
import pytest
from checkpoints import save_checkpoint, save_tokenizer
from edited import double_scale, edited, replace_output
from onnx_ir.tape import Tape

from export.graph.decompose import decompose
from export.graph.fused import fused_nodes
from export.inspect import verify
from server.repository.bundle import Bundle

Checks = dict[str, tuple[str, str]]

BUNDLE_ONLY = {
    "files",
    "session",
    "instruction set",
    "ONNX Runtime",
    "fusion",
    "any place in a batch",
    "any batch-mates",
    "tokenizer",
}
PARITY = "parity with PyTorch"


def verified(
    bundle: Bundle | Path, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, Checks]:
    path = bundle.path if isinstance(bundle, Bundle) else bundle
    code = verify.run(verify.parser().parse_args([str(path), "--json", *options]))
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] is (code == 0)
    return code, {one["name"]: (one["result"], one["found"]) for one in report["checks"]}


def only_failed(found: Checks) -> tuple[str, str]:
    """Return name and reason of the one check that failed."""
    ((name, reason),) = [
        (name, text) for name, (result, text) in found.items() if result == "failed"
    ]
    return name, reason


def test_a_sound_bundle_passes_every_check(
    bert_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = verified(bert_bundle, capsys)
    assert code == 0
    assert found.keys() == BUNDLE_ONLY
    assert {result for result, _ in found.values()} == {"passed"}
    assert found["fusion"][1].startswith("2 of 2 modules")


def test_without_json_the_table_is_on_standard_error(
    bert_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify.run(verify.parser().parse_args([str(bert_bundle.path)])) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "any batch-mates" in captured.err


def test_the_checkpoint_it_came_from_agrees(
    bert_bundle: Bundle, bert_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = verified(bert_bundle, capsys, "--against", str(bert_checkpoint))
    assert code == 0
    assert found.keys() == BUNDLE_ONLY | {PARITY}
    assert found[PARITY][1].startswith("12 batches differ from tiny-bert by at most ")


def test_a_changed_file_is_named_and_nothing_else_is_tried(
    bert_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = edited(bert_bundle, tmp_path).path
    (path / "tokenizer.json").write_text("{}")
    code, found = verified(path, capsys)
    assert code == 1
    assert found.keys() == {"files"}
    assert "tokenizer.json has 2 bytes" in found["files"][1]


def test_a_directory_that_is_no_bundle_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = verified(tmp_path, capsys)
    assert code == 1
    assert "bundle.json is missing" in found["files"][1]


def test_a_runtime_that_is_too_old_is_told_before_the_graph_is_opened(
    bert_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = verified(edited(bert_bundle, tmp_path, min_onnxruntime="99.0"), capsys)
    assert code == 1
    assert "min_onnxruntime is 99.0" in found["session"][1]


def test_another_instruction_set_is_worth_a_note_and_no_failure(
    bert_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = edited(bert_bundle, tmp_path, isa="z80 nothing_else")
    code, found = verified(other, capsys)
    assert code == 0
    assert found["instruction set"][0] == "noted"
    assert "z80 nothing_else" in found["instruction set"][1]


def test_attention_in_pieces_breaks_the_fusion(
    bert_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = verified(edited(bert_bundle, tmp_path, decompose), capsys)
    assert code == 1
    name, reason = only_failed(found)
    assert name == "fusion"
    assert "2 attention modules became 0 fused nodes" in reason


def test_attention_across_sequences_shows_without_pytorch(
    bert_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def ignore_mask(model: ir.Model) -> None:
        for node in fused_nodes(model):
            node.replace_input_with(5, None)

    code, found = verified(edited(bert_bundle, tmp_path, ignore_mask), capsys)
    assert code == 1
    assert found["any place in a batch"][0] == "failed"
    for case in ("right-padded, batch 1", "left-padded, batch 2", "packed, batch 5"):
        assert case in found["any place in a batch"][1]
    assert found["any batch-mates"][0] == "failed"


def test_a_last_bit_that_depends_on_batch_mates_is_found(
    bert_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As one scale for the activations of a whole batch does, only smaller."""

    def leak(model: ir.Model) -> None:
        def change(output: ir.Value) -> ir.Value:
            tape = Tape(model.graph)
            tiny = tape.initializer(ir.tensor([1e-5], name="tiny"))
            largest = tape.op("ReduceMax", [output], {"keepdims": 0})
            factor = tape.op("Mul", [largest, tiny])
            return tape.op("Add", [output, factor])

        replace_output(model, change)

    code, found = verified(edited(bert_bundle, tmp_path, leak), capsys)
    assert code == 1
    name, reason = only_failed(found)
    assert name == "any batch-mates"
    assert reason.endswith("answers change with what else is in the batch")


def test_a_wrong_layer_is_named_against_the_checkpoint(
    bert_bundle: Bundle, bert_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = edited(bert_bundle, tmp_path, lambda model: double_scale(model, 1))
    before = sorted(wrong.path.iterdir())
    code, found = verified(wrong, capsys, "--against", str(bert_checkpoint))
    assert code == 1
    name, reason = only_failed(found)
    assert name == PARITY
    assert "it first differs at encoder.layer.1.attention.self by 0." in reason
    assert sorted(wrong.path.iterdir()) == before


def test_another_tokenizer_and_another_head_are_told(
    bert_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = save_checkpoint(tmp_path / "other")
    save_tokenizer(checkpoint, pad_id=1)
    code, found = verified(bert_bundle, capsys, "--against", str(checkpoint))
    assert code == 1
    assert only_failed(found) == (PARITY, "tokenizer.json is not the checkpoint's")
    code, found = verified(bert_bundle, capsys, "--against", str(tmp_path / "nothing"))
    assert code == 1
    assert "is not a directory" in found[PARITY][1]


def test_a_bundle_alone_is_verified_without_torch(bert_bundle: Bundle) -> None:
    program = (
        "import sys; from export.inspect import verify; "
        "code = verify.run(verify.parser().parse_args(sys.argv[1:])); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(bert_bundle.path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
