"""`heed-serve tune`: what it finds is written, and the server starts with it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import SLOW_ID, build_encoder, build_rows
from loopback import serve

from server.batching.choice import tuned
from server.config import default_threads
from server.repository.bundle import open_bundle
from server.repository.manifest import MANIFEST_NAME

SECONDS = 1.0
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tune") / "models"
    manifest = build_encoder(root) / MANIFEST_NAME
    fields = json.loads(manifest.read_text())
    # Random ids shall draw neither of the words that make the graph misbehave.
    fields["limits"]["vocabulary"] = SLOW_ID
    manifest.write_text(json.dumps(fields))
    return root


def tune(bundle: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "server", "tune", str(bundle), *options],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_server_starts_with_what_was_tuned(models: Path, tmp_path: Path) -> None:
    directory = str(tmp_path / "tuning")
    ran = tune(models / "tiny" / "1", "--seconds", str(SECONDS), "--tuning", directory, "--json")
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    found = tuned(directory, open_bundle(models / "tiny" / "1").digest, "cpu")
    assert found is not None
    assert Path(report["path"]).parent == tmp_path / "tuning"
    assert report["fastest"]["max_batch_tokens"] == found.max_batch_tokens
    assert report["fastest"]["num_threads"] == found.num_threads

    with serve(models, "--tuning", directory) as target:
        assert target.metric("heed_session_threads{") == found.num_threads


def test_server_starts_beside_a_damaged_file(models: Path, tmp_path: Path) -> None:
    directory = tmp_path / "tuning"
    ran = tune(models / "tiny" / "1", "--seconds", "0", "--tuning", str(directory), "--json")
    assert ran.returncode == 0, ran.stderr
    Path(json.loads(ran.stdout)["path"]).write_text("{")

    with serve(models, "--tuning", str(directory)) as target:
        assert target.metric("heed_session_threads{") == default_threads()
        assert "a tuning file was ignored" in target.log.read_text()


def test_table_shows_every_trial_and_what_was_left_out(models: Path) -> None:
    ran = tune(models / "tiny" / "1", "--seconds", "0", "--tuning", "")

    assert ran.returncode == 0, ran.stderr
    assert "fastest" in ran.stdout
    assert "more were not tried" in ran.stdout
    assert "nothing: --tuning is empty" in ran.stdout


def test_whole_rows_have_nothing_to_tune(tmp_path: Path) -> None:
    ran = tune(build_rows(tmp_path / "models"), "--tuning", str(tmp_path))

    assert ran.returncode == 2
    assert "nothing to choose" in ran.stderr
    assert not list(tmp_path.glob("*.json"))
