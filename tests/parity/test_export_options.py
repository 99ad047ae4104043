"""What the options and the checkpoint's own files change in the bundle."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from checkpoints import save_checkpoint, tiny_model
from exports import TOLERANCE, embed, embed_in_torch, export_to, open_session
from tokenizers import Tokenizer

from export.tokenizer import check_tokenizer, save_tokenizer
from server.repository.bundle import Bundle, open_bundle

SEQUENCES = ([5, 9, 30, 7], [8, 21, 34])


def test_external_weights_serve_the_same_answers(
    bert_checkpoint: Path, bert_bundle: Bundle, tmp_path: Path
) -> None:
    assert export_to(tmp_path, bert_checkpoint, "--external-data", "always", "--name", "big") == 0
    bundle = open_bundle(tmp_path / "big" / "1")
    assert "model.onnx.data" in bundle.manifest.files
    assert bundle.model_path.stat().st_size < bert_bundle.model_path.stat().st_size / 2
    inside = embed(open_session(bert_bundle), bert_bundle, [SEQUENCES])
    np.testing.assert_array_equal(embed(open_session(bundle), bundle, [SEQUENCES]), inside)


def test_a_plain_transformer_gets_the_mean_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = save_checkpoint(tmp_path / "plain", pooling=None)
    assert export_to(tmp_path / "models", checkpoint, "--version", "7") == 0
    bundle = open_bundle(tmp_path / "models" / "plain" / "7")
    captured = capsys.readouterr()
    assert captured.out == f"{bundle.path}\n"
    for step in ("load weights", "trace and fuse", "compare with PyTorch", "publish"):
        assert f"{step}: " in captured.err
    assert bundle.manifest.pooling is not None
    assert not bundle.manifest.pooling.normalize
    assert "mean pooling without normalisation" in (bundle.path / "report.md").read_text()
    found = embed(open_session(bundle), bundle, [SEQUENCES])
    expected = embed_in_torch(tiny_model("bert"), SEQUENCES, normalize=False)
    # Without normalisation the values are as large as the states: relative to the largest.
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_cls_pooling_takes_the_first_token_of_each_segment(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "cls", pooling="cls")
    assert export_to(tmp_path / "models", checkpoint) == 0
    bundle = open_bundle(tmp_path / "models" / "cls" / "1")
    assert bundle.manifest.pooling is not None
    assert bundle.manifest.pooling.mode == "cls"
    session = open_session(bundle)
    packed = embed(session, bundle, [SEQUENCES])
    alone = np.concatenate([embed(session, bundle, [[ids]]) for ids in SEQUENCES])
    assert np.abs(packed - alone).max() <= TOLERANCE


def test_the_tokenizer_is_copied_byte_for_byte(bert_checkpoint: Path, bert_bundle: Bundle) -> None:
    original = (bert_checkpoint / "tokenizer.json").read_bytes()
    assert bert_bundle.tokenizer_path.read_bytes() == original


def test_a_slow_tokenizer_is_converted(bert_checkpoint: Path, tmp_path: Path) -> None:
    slow = Path(shutil.copytree(bert_checkpoint, tmp_path / "slow"))
    (slow / "tokenizer.json").unlink()
    (slow / "tokenizer_config.json").unlink()
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "attention"]
    (slow / "vocab.txt").write_text("\n".join(pieces))
    file = save_tokenizer(slow, tmp_path)
    check_tokenizer(file, vocabulary=len(pieces), max_tokens=8, lowercases=True)
    assert Tokenizer.from_file(str(file)).encode("Attention").ids == [2, 5, 3]
