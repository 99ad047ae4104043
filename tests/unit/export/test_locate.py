from pathlib import Path

import pytest
from huggingface_hub import constants

from export.errors import CheckpointNotFound
from export.locate import locate


def test_a_directory_is_named_by_its_last_part_only(tmp_path: Path) -> None:
    directory = tmp_path / "my-model"
    directory.mkdir()
    checkpoint = locate(str(directory))
    assert (checkpoint.source, checkpoint.name) == ("my-model", "my-model")


@pytest.mark.parametrize("model", ["./missing", "/nowhere/at/all", "a/b/c", "~nobody/x", ""])
def test_a_path_that_does_not_exist_is_not_taken_for_a_hub_id(model: str) -> None:
    with pytest.raises(CheckpointNotFound, match="not a directory"):
        locate(model)


def test_a_hub_id_is_read_from_the_cache_and_named_with_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "models--some-owner--some-model"
    snapshot = repository / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abcd")
    (snapshot / "config.json").write_text("{}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    checkpoint = locate("some-owner/some-model")
    assert checkpoint.directory == snapshot
    assert (checkpoint.source, checkpoint.name) == ("some-owner/some-model@0123abcd", "some-model")


def test_a_hub_id_that_is_not_cached_says_the_hub_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointNotFound, match="the hub cannot be reached"):
        locate("some-owner/some-model")
