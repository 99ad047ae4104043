"""A server-only install from this checkout: small, complete, and polite about what is not in it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from bundles import HIDDEN, build_encoder

from protos.heed.v1 import text_pb2 as pb
from protos.heed.v1 import text_pb2_grpc

CHECKOUT = Path(__file__).parents[2]
READY = "heed ready "
STEP_S = 60
INSTALL_S = 240
"""A slow index; from a local one it takes some ten seconds."""

TOOLS = {"torch", "transformers", "optimum", "onnx", "locust", "gevent"}
UNREACHABLE = ("connection", "name resolution", "timed out", "--no-index")
"""What pip says, in any case, when no index answers it."""

FIND = """
import json
from importlib.metadata import distributions
import server
names = [distribution.metadata["Name"].lower() for distribution in distributions()]
print(json.dumps({"names": names, "server": server.__file__}))
"""

# The one fixture is slow because it is a real installation.
pytestmark = pytest.mark.timeout(INSTALL_S + 2 * STEP_S)


@dataclass(frozen=True)
class Installed:
    """A virtual environment with heed[cpu], used from a directory that is not the checkout."""

    environment: Path
    cwd: Path

    def command(self, name: str, *arguments: str) -> list[str]:
        return [str(self.environment / "bin" / name), *arguments]

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(name, *arguments),
            cwd=self.cwd,
            env=isolated(),
            capture_output=True,
            text=True,
            timeout=STEP_S,
            check=False,
        )


def isolated() -> dict[str, str]:
    """The environment without what could lead Python to other packages than the installed ones."""
    hidden = ("PYTHON", "VIRTUAL_ENV", "HEED_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return kept | {"PYTHONNOUSERSITE": "1"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    root = tmp_path_factory.mktemp("install")
    result = Installed(root / "environment", root / "elsewhere")
    result.cwd.mkdir()
    subprocess.run(
        [sys.executable, "-m", "venv", str(result.environment)],
        env=isolated(),
        timeout=STEP_S,
        check=True,
    )
    constraints = str(CHECKOUT / "constraints.txt")
    pip = subprocess.run(
        result.command("pip", "install", "--quiet", "-c", constraints, f"{CHECKOUT}[cpu]"),
        cwd=result.cwd,
        env=isolated(),
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )
    unreachable = [
        line.strip()
        for line in pip.stderr.splitlines()
        if any(words in line.lower() for words in UNREACHABLE)
    ]
    if pip.returncode and unreachable:
        # A machine that decides about changes has an index.
        assert os.environ.get("CI") != "true", pip.stderr
        pytest.skip(f"pip reaches no index: {unreachable[0]}")
    assert pip.returncode == 0, pip.stderr
    return result


def test_server_install_carries_no_tools(installed: Installed) -> None:
    found = json.loads(installed.run("python", "-c", FIND).stdout)

    assert TOOLS & set(found["names"]) == set()
    assert "onnxruntime" in found["names"]
    assert Path(found["server"]).is_relative_to(installed.environment)


def test_installed_server_embeds_a_text_and_drains(installed: Installed, tmp_path: Path) -> None:
    models = tmp_path / "models"
    build_encoder(models)
    options = ("--models", str(models), "--port", "0", "--ops-port", "0")

    with (
        (tmp_path / "log").open("w+", encoding="utf-8") as log,
        subprocess.Popen(
            installed.command("heed-serve", *options),
            cwd=installed.cwd,
            env=isolated(),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith(READY), (tmp_path / "log").read_text(encoding="utf-8")
            addresses = dict(part.split("=", 1) for part in line.removeprefix(READY).split())
            with grpc.insecure_channel(addresses["grpc"]) as channel:
                stub = text_pb2_grpc.TextServiceStub(channel)
                answer = stub.Embed(pb.EmbedRequest(model="tiny", texts=["word1"]), timeout=30)
            process.terminate()
            status = process.wait(STEP_S)
        finally:
            process.kill()

    assert len(answer.embeddings[0].values) == HIDDEN
    assert status == 0


def test_version_is_the_one_of_the_distribution(installed: Installed) -> None:
    asked = "from importlib.metadata import version; print(version('heed'))"

    ended = installed.run("heed-serve", "--version")

    assert ended.returncode == 0
    assert ended.stdout == installed.run("python", "-c", asked).stdout


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (("heed-export", "minilm", "--task", "embed"), "heed[export"),
        (("heed-load", "run", "closed", "--target", "x:1", "--model", "x"), "heed[loadtest"),
    ],
)
def test_tool_without_its_extra_says_how_to_install_it(
    installed: Installed, command: tuple[str, ...], extra: str
) -> None:
    ended = installed.run(*command)

    assert "Traceback" not in ended.stderr
    assert ended.returncode == 1
    assert extra in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_scenarios_are_listed_or_the_extra_is_named(installed: Installed) -> None:
    ended = installed.run("heed-load", "list")

    assert "Traceback" not in ended.stderr
    assert ended.returncode == 0 or "heed[loadtest" in ended.stderr
