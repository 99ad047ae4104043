"""What the parity tests share: one export of a tiny BERT."""

import os
from pathlib import Path

import pytest
import torch

# Before huggingface_hub is imported: nothing here may depend on what the hub holds today.
os.environ["HF_HUB_OFFLINE"] = "1"

from checkpoints import save_checkpoint
from exports import export_to

from server.repository.bundle import Bundle, open_bundle

# On busy cores a pool of threads waits for its own members; the models here are tiny.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def bert_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with sentence-transformers files."""
    return save_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny-bert")


@pytest.fixture(scope="session")
def bert_bundle(tmp_path_factory: pytest.TempPathFactory, bert_checkpoint: Path) -> Bundle:
    """The bundle of the tiny BERT. Not to be changed."""
    out = tmp_path_factory.mktemp("models")
    assert export_to(out, bert_checkpoint) == 0
    return open_bundle(out / "tiny-bert" / "1")
