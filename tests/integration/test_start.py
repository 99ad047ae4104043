"""What keeps a server from starting, and what it says."""

import json
import os
import shutil
import socket
from pathlib import Path

import loopback
import pytest
from bundles import build_encoder
from loopback import serve


@pytest.fixture
def own_repository(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    build_encoder(root)
    return root


def edit(bundle: Path, **fields: object) -> None:
    path = bundle / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def tamper(bundle: Path) -> None:
    data = bytearray((bundle / "model.onnx").read_bytes())
    data[-1] ^= 1
    (bundle / "model.onnx").write_bytes(data)


def truncate(bundle: Path) -> None:
    path = bundle / "model.onnx"
    path.write_bytes(path.read_bytes()[:-10])


def replace_by_link(bundle: Path) -> None:
    (bundle / "model.onnx").rename(bundle.parent / "elsewhere")
    (bundle / "model.onnx").symlink_to(bundle.parent / "elsewhere")


def replace_by_hard_link(bundle: Path) -> None:
    os.link(bundle / "model.onnx", bundle.parent / "elsewhere")


def lose_tokenizer(bundle: Path) -> None:
    (bundle / "tokenizer.json").unlink()


def garble_manifest(bundle: Path) -> None:
    (bundle / "bundle.json").write_text("{")


def misspell_field(bundle: Path) -> None:
    edit(bundle, pooling={"mode": "mean", "normalise": True, "dimensions": 8})


def rename_version(bundle: Path) -> None:
    bundle.rename(bundle.parent / "2")


def ask_for_newer_runtime(bundle: Path) -> None:
    edit(bundle, min_onnxruntime="99.1")


def lose_pooling(bundle: Path) -> None:
    edit(bundle, pooling=None)


def promise_another_datatype(bundle: Path) -> None:
    output = {"name": "sentence_embedding", "datatype": "FP16", "shape": [-1, 8], "per": "sequence"}
    edit(bundle, outputs=[output])


def name_a_file_that_is_not_there(bundle: Path) -> None:
    edit(bundle, processor="preprocessor_config.json")


def leave_directory(bundle: Path) -> None:
    files = json.loads((bundle / "bundle.json").read_text())["files"]
    edit(bundle, files=files | {"../secret": files["model.onnx"]})


@pytest.mark.parametrize(
    ("damage", "hint"),
    [
        (tamper, "changed since the export"),
        (truncate, "bytes"),
        (replace_by_link, "links are not followed"),
        (replace_by_hard_link, "hard link"),
        (lose_tokenizer, "tokenizer.json is missing"),
        (garble_manifest, "export the bundle again"),
        (misspell_field, "normalise"),
        (rename_version, "must lie in tiny/1"),
        (leave_directory, "leaves the bundle"),
        (ask_for_newer_runtime, "tiny/1: min_onnxruntime is 99.1, installed is"),
        (lose_pooling, "pooling is missing, which task embed needs"),
        (promise_another_datatype, "the graph answers float32 [8] per sequence"),
        (name_a_file_that_is_not_there, "which processor names"),
    ],
)
def test_damaged_bundle_is_refused_by_name(own_repository: Path, damage: object, hint: str) -> None:
    damage(own_repository / "tiny" / "1")  # type: ignore[operator]  # one of the functions above

    ended = loopback.run(own_repository)

    assert ended.returncode == 1
    assert hint in ended.stderr
    assert "Traceback" not in ended.stderr


def test_int8_for_another_cpu_is_served_with_a_warning(own_repository: Path) -> None:
    edit(own_repository / "tiny/1", precision="int8", isa="x86_64 avx1024_vnni")

    with serve(own_repository) as target:
        assert "made for another CPU" in target.log.read_text()
        assert "avx1024_vnni" in target.log.read_text()


def test_sound_bundles_are_served_when_asked_to_skip_broken_ones(own_repository: Path) -> None:
    tamper(build_encoder(own_repository, "broken"))

    assert loopback.run(own_repository).returncode == 1
    with serve(own_repository, "--skip-broken") as target:
        assert target.get("/readyz")[0] == 200
        assert "a bundle is skipped" in target.log.read_text()
        assert target.metric('heed_model_ready{model="broken"') == 0
        assert target.metric('heed_model_ready{model="tiny"') == 1


def test_latest_version_is_served(own_repository: Path) -> None:
    build_encoder(own_repository, version=10)
    build_encoder(own_repository, version=9)
    (own_repository / "tiny" / "notes").mkdir()

    with serve(own_repository) as target:
        assert 'model="tiny",version="10"} 1.0' in target.get("/metrics")[1]


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["--prot", "1"], "unrecognized arguments"),
        (["--port", "http"], "--port http: not a whole number"),
        (["--port", "70000"], "must lie in 0 to 65535"),
        (["--provider", "tpu"], "use one of cpu, cuda"),
        (["--threads", "0"], "must be at least 1"),
        (["--host", "nowhere.invalid"], "change --host"),
    ],
)
def test_wrong_option_is_a_usage_error(own_repository: Path, options: list[str], hint: str) -> None:
    ended = loopback.run(own_repository, *options)

    assert ended.returncode == 2
    assert hint in ended.stderr


def test_all_wrong_options_are_reported_at_once(
    own_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEED_BATCHNG", "packed")

    ended = loopback.run(own_repository, "--threads", "0", "--max-batch-rows", "x")

    assert ended.returncode == 2
    for hint in ("HEED_BATCHNG", "--threads 0", "--max-batch-rows x"):
        assert hint in ended.stderr


def test_environment_sets_what_no_flag_sets(
    own_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEED_THREADS", "1")

    with serve(own_repository) as target:
        assert target.metric("heed_session_threads") == 1


def test_missing_and_empty_repositories_are_said_so(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()

    assert "heed-export" in loopback.run(empty).stderr
    assert "No such file" in loopback.run(tmp_path / "missing").stderr


def test_provider_that_is_not_there_is_an_error(own_repository: Path) -> None:
    manifest = json.loads((own_repository / "tiny/1/bundle.json").read_text())
    edit(own_repository / "tiny/1", sessions=manifest["sessions"] | {"cuda": {}})
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine may have the provider")

    ended = loopback.run(own_repository, "--provider", "cuda")

    assert ended.returncode == 1
    assert "heed[gpu]" in ended.stderr


@pytest.mark.parametrize("flag", ["--port", "--ops-port"])
def test_taken_port_is_an_error(own_repository: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = loopback.run(own_repository, flag, str(taken.getsockname()[1]))

    assert ended.returncode == 2
    assert "change --" in ended.stderr
