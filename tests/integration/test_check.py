"""`heed-serve check` and `heed-serve config`: everything that is wrong, and what is in force."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from bundles import build_encoder, build_rows


def heed_serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "server", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    build_encoder(root)
    build_rows(root, "pixels")
    return root


def test_sound_repository(root: Path) -> None:
    build_encoder(root, version=2)

    checked = heed_serve("check", "--models", str(root))

    assert (checked.returncode, checked.stderr) == (0, "")
    lines = checked.stdout.splitlines()
    assert [line.split()[:2] for line in lines[:-1]] == [
        ["sound", "pixels/1"],
        ["sound", "tiny/1,"],
        ["sound", "tiny/2"],
    ]
    assert "not selected" in lines[1]
    assert lines[-1] == "3 bundles, 0 problems"


def test_everything_that_is_wrong_is_listed(root: Path) -> None:
    truncated = build_encoder(root, version=2) / "model.onnx"
    truncated.write_bytes(truncated.read_bytes()[:-1])
    (build_encoder(root, version=3) / "tokenizer.json").write_text("{}")
    (root / "empty" / "1").mkdir(parents=True)

    options = ("--threads", "0", "--versions", "tiny=7", "--api-keys", str(root / "none.toml"))
    checked = heed_serve("check", "--models", str(root), *options)

    assert checked.returncode == 1
    assert "Traceback" not in checked.stderr
    for hint in (
        "wrong   --threads 0: must be at least 1",
        "wrong   --api-keys ",
        "wrong   --versions: model 'tiny' has no version 7",
        "broken  empty/1  ",
        "bundle.json is missing",
        "tiny/2, not selected",
        "were exported",
        "tiny/3, not selected",
        "tokenizer.json",
        "sound   pixels/1",
        "5 bundles, 6 problems",
    ):
        assert hint in checked.stdout, hint


def test_report_as_json(root: Path) -> None:
    (root / "tiny" / "1" / "tokenizer.json").unlink()

    report = json.loads(heed_serve("check", "--models", str(root), "--json").stdout)

    assert report["num_problems"] == 1
    assert [bool(one["problem"]) for one in report["bundles"]] == [False, True]
    assert report["bundles"][0]["task"] == "tensors"


def test_one_bundle(root: Path) -> None:
    bundle = root / "tiny" / "1"
    assert heed_serve("check", "--one", str(bundle)).returncode == 0

    (bundle / "tokenizer.json").unlink()
    broken = heed_serve("check", "--one", str(bundle))
    assert (broken.returncode, "tokenizer.json is missing" in broken.stderr) == (1, True)


def test_missing_repository_is_a_problem(tmp_path: Path) -> None:
    checked = heed_serve("check", "--models", str(tmp_path / "none"))

    assert (checked.returncode, "No such file" in checked.stdout) == (1, True)


def test_options_in_force_are_a_file_that_gives_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "heed.toml"
    path.write_text("threads = 3\nport = 1")
    monkeypatch.setenv("HEED_POLL_S", "2")
    printed = heed_serve("config", "--config", str(path), "--port", "5")

    values = tomllib.loads(printed.stdout)
    assert (values["threads"], values["port"], values["poll_s"]) == (3, 5, 2.0)
    assert "port = 5  # flag --port\n" in printed.stdout
    path.write_text(printed.stdout)
    monkeypatch.delenv("HEED_POLL_S")
    again = heed_serve("config", "--config", str(path))
    assert tomllib.loads(again.stdout) == values


def test_problems_of_the_options_are_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "heed.toml"
    path.write_text('thread = 3\npin = "yes"')

    ended = heed_serve("config", "--config", str(path), "--tls-key", "a.pem")

    assert (ended.returncode, ended.stdout) == (2, "")
    assert len(ended.stderr.splitlines()) == 3
