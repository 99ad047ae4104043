"""The official Triton client works unchanged, in an environment and process of its own."""

import os
import subprocess
import venv
from pathlib import Path

import pytest
from bundles import build_encoder
from loopback import serve

# Its newest release wants protobuf < 7, so it cannot share heed's environment.
CLIENT = "tritonclient[grpc]==2.73.0"
SCRIPT = Path(__file__).with_name("triton_calls.py")
CALLS = (
    "is_server_live",
    "is_server_ready",
    "is_model_ready",
    "get_server_metadata",
    "get_model_metadata",
    "get_model_config",
    "get_model_repository_index",
    "infer",
    "infer with gzip",
    "async_infer",
    "get_inference_statistics",
    "infer of an unknown model",
    "aio infer",
)

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def client_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("triton")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    installed = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", CLIENT],
        capture_output=True,
        text=True,
        check=False,
    )
    if installed.returncode != 0:
        reason = f"pip could not install {CLIENT}: {installed.stderr[-300:]}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return python


def test_every_call_of_the_client_is_answered(client_python: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models"
    build_encoder(repository)
    with serve(repository) as target:
        ended = subprocess.run(
            [client_python, SCRIPT, target.address, "tiny"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines() == [f"ok {call}" for call in CALLS]
