"""What stops an export before it starts, and what the message tells the user to change."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import HIDDEN, VOCABULARY, save_checkpoint, save_model
from exports import export_to
from safetensors.torch import load_file, save_file
from transformers import MPNetConfig, MPNetModel

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


def test_an_architecture_outside_the_attention_interface_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = MPNetConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=66,
    )
    directory = tmp_path / "mpnet"
    save_model(directory, MPNetModel(config))
    assert "does not use transformers' AttentionInterface" in refused(
        tmp_path / "models", directory, capsys
    )


def test_a_decoder_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "is_decoder": True}))
    assert "only encoders are exported" in refused(tmp_path / "models", checkpoint, capsys)


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
    directory = save_checkpoint(tmp_path / "max", pooling="max")
    assert "pooling mode is max" in refused(tmp_path / "models", directory, capsys)


def test_a_name_that_is_no_bundle_name_is_refused(
    bert_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export_to(tmp_path, bert_checkpoint, "--name", "../escape") == 1
    assert "pass --name" in capsys.readouterr().err
