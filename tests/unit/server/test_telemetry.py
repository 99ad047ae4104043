"""ONNX Runtime is told not to report usage before it is imported."""

import os
import subprocess
import sys


def test_telemetry_is_off_before_the_runtime_is_imported() -> None:
    watch = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            assert os.environ.get("ORT_DISABLE_TELEMETRY") == "1", "imported too early"
            print("checked")
sys.meta_path.insert(0, Watch())
import server.app
"""
    environment = {name: value for name, value in os.environ.items() if name[:4] != "ORT_"}
    ended = subprocess.run(
        [sys.executable, "-c", watch], capture_output=True, text=True, env=environment, check=False
    )

    assert (ended.stdout, ended.returncode) == ("checked\n", 0), ended.stderr
