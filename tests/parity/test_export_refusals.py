"""What stops an export before it starts, and what the message tells the user to change."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import HIDDEN, VOCABULARY, save_checkpoint, save_model
from exports import export_to
from safetensors.torch import load_file, save_file
from transformers import RoFormerConfig, RoFormerModel

from export.cli import INTERRUPTED, main
from server.repository.bundle import Bundle, open_bundle


@pytest.fixture
def checkpoint(bert_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(bert_checkpoint, tmp_path / "damaged"))


def refused(out: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Export, expect failure without a bundle, and return the line printed last."""
    assert export_to(out, model) == 1
    assert not out.exists() or list(out.iterdir()) == []
    return capsys.readouterr().err.splitlines()[-1]


def test_an_existing_version_is_refused_and_force_replaces_it(
    bert_checkpoint: Path,
    bert_bundle: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = Path(shutil.copytree(bert_bundle.path, tmp_path / "tiny-bert" / "1"))
    assert export_to(tmp_path, bert_checkpoint) == 1
    assert "exists already; choose another --version" in capsys.readouterr().err
    assert open_bundle(path).digest == bert_bundle.digest
    assert export_to(tmp_path, bert_checkpoint, "--force") == 0
    assert open_bundle(path).manifest.card.exported_at >= bert_bundle.manifest.card.exported_at


def test_a_directory_that_does_not_exist_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "is not a directory" in refused(tmp_path / "models", tmp_path / "missing", capsys)


def test_an_unreachable_hub_gives_one_clear_line(tmp_path: Path) -> None:
    unreachable = {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path),
    }
    result = subprocess.run(
        [sys.executable, "-m", "export", "some-owner/some-model", "--task", "embed"],
        env={**os.environ, **unreachable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "the hub cannot be reached" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_a_directory_without_a_config_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkpoint / "config.json").unlink()
    assert "no config.json" in refused(tmp_path / "models", checkpoint, capsys)


def test_an_unknown_architecture_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkpoint / "config.json").write_text(json.dumps({"model_type": "unheard-of"}))
    assert "config.json cannot be used" in refused(tmp_path / "models", checkpoint, capsys)


@pytest.fixture
def outside_the_interface(tmp_path: Path) -> Path:
    """A model whose attention modules compute everything themselves."""
    config = RoFormerConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=48,
    )
    directory = tmp_path / "roformer"
    save_model(directory, RoFormerModel(config))
    return directory


def test_attention_that_would_stay_in_pieces_is_refused_by_name(
    outside_the_interface: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(tmp_path / "models", outside_the_interface, capsys)
    assert "RoFormerSelfAttention at encoder.layer.0.attention.self was not fused" in message
    assert "--allow-unfused" in message


def test_allowed_attention_in_pieces_is_proven_and_named_in_the_card(
    outside_the_interface: Path, tmp_path: Path
) -> None:
    assert export_to(tmp_path / "models", outside_the_interface, "--allow-unfused") == 0
    bundle = open_bundle(tmp_path / "models" / "roformer" / "1")
    assert bundle.manifest.card.unfused == ("RoFormerSelfAttention",)
    assert bundle.manifest.card.fused_nodes == 0
    assert "RoFormerSelfAttention" in (bundle.path / "report.md").read_text()


def test_a_head_that_the_architecture_lacks_is_refused(
    bert_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(bert_checkpoint), "--task", "detect", "--out", str(tmp_path / "models")]) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert "transformers has no AutoModelForObjectDetection of type bert" in message


def test_a_head_that_was_never_trained_is_refused(
    bert_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(bert_checkpoint), "--task", "classify", "--out", str(tmp_path / "out")]) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert "no weights for classifier.bias" in message


def test_an_unknown_task_lists_those_there_are(
    bert_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(bert_checkpoint), "--task", "paint", "--out", str(tmp_path)]) == 1
    assert "task 'paint' is unknown; use one of embed, " in capsys.readouterr().err


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(
    bert_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # As a full disk does: the file system refuses bytes in the middle of a file.
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        message = refused(tmp_path / "models", bert_checkpoint, capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert "cannot read or write" in message


@pytest.mark.parametrize(
    "stop", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.thorough)]
)
def test_an_interrupted_export_says_so_and_leaves_nothing(
    bert_checkpoint: Path, tmp_path: Path, stop: signal.Signals
) -> None:
    command = [sys.executable, "-m", "export", str(bert_checkpoint), "--out", str(tmp_path / "m")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            # The stage directory is there and the model is being traced.
            if line.startswith("run PyTorch"):
                process.send_signal(stop)
                break
        rest = process.stderr.read()
    assert process.returncode == INTERRUPTED
    assert rest.splitlines()[-1] == "heed-export: interrupted; nothing was published"
    assert list((tmp_path / "m").iterdir()) == []


def test_missing_weights_are_not_filled_with_random_numbers(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    del weights["encoder.layer.1.attention.self.key.weight"]
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    message = refused(tmp_path / "models", checkpoint, capsys)
    assert "no weights for encoder.layer.1.attention.self.key.weight" in message


def test_weights_that_are_not_safetensors_are_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    assert "no model.safetensors" in refused(tmp_path / "models", checkpoint, capsys)


def test_a_checkpoint_without_a_tokenizer_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkpoint / "tokenizer.json").unlink()
    assert "has no tokenizer" in refused(tmp_path / "models", checkpoint, capsys)


def test_a_tokenizer_of_another_model_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((checkpoint / "tokenizer.json").read_text())
    content["model"]["vocab"]["foreign"] = VOCABULARY
    (checkpoint / "tokenizer.json").write_text(json.dumps(content))
    assert "the two do not belong together" in refused(tmp_path / "models", checkpoint, capsys)


def test_a_tokenizer_that_the_server_cannot_read_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkpoint / "tokenizer.json").write_text("{}")
    assert "the tokenizer cannot be read" in refused(tmp_path / "models", checkpoint, capsys)


def test_lower_casing_outside_the_tokenizer_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((checkpoint / "tokenizer.json").read_text())
    content["model"]["vocab"]["Attention"] = content["model"]["vocab"].pop("word0")
    (checkpoint / "tokenizer.json").write_text(json.dumps(content))
    (checkpoint / "sentence_bert_config.json").write_text(json.dumps({"do_lower_case": True}))
    assert "the tokenizer keeps case" in refused(tmp_path / "models", checkpoint, capsys)


def test_pooling_that_the_graph_cannot_hold_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = save_checkpoint(tmp_path / "both", pooling="mean_sqrt_len")
    assert "pooling mode is mean_sqrt_len_tokens" in refused(tmp_path / "models", directory, capsys)


def test_a_name_that_is_no_bundle_name_is_refused(
    bert_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export_to(tmp_path, bert_checkpoint, "--name", "../escape") == 1
    assert "pass --name" in capsys.readouterr().err
