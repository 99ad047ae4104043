"""gRPC is told how to run before it is imported, whichever way the server is started."""

import os
import subprocess
import sys

import pytest

WATCH = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "grpc":
            print(os.environ.get("GRPC_EXPERIMENTS"), os.environ.get("GRPC_ENABLE_FORK_SUPPORT"))
sys.meta_path.insert(0, Watch())
"""
SET = "-event_engine_client,-event_engine_listener 0\n"


def imported(code: str, **variables: str) -> str:
    """Return what gRPC would find when `code` imports it."""
    environment = {name: value for name, value in os.environ.items() if name[:5] != "GRPC_"}
    ended = subprocess.run(
        [sys.executable, "-c", WATCH + code],
        capture_output=True,
        text=True,
        env=environment | variables,
        check=True,
    )
    return ended.stdout


@pytest.mark.parametrize(
    "code", ["import server.app", "import server.rpc.listener", "import server.rpc.status"]
)
def test_environment_is_set_before_grpc_is_imported(code: str) -> None:
    assert imported(code) == SET


def test_command_line_sets_it_too() -> None:
    code = "import server.cli; server.cli.main(['--models', '/nonexistent'])"

    assert imported(code) == SET


def test_looking_at_options_does_not_load_grpc() -> None:
    printed = imported("import server.cli; server.cli.main(['config'])")

    assert "event_engine" not in printed


def test_whoever_sets_it_is_heard() -> None:
    assert imported("import server.app", GRPC_EXPERIMENTS="x") == "x 0\n"
