"""Every ModelInfer scenario runs unchanged against a server that nobody here wrote.

MLServer (Seldon) speaks the Open Inference Protocol; it serves an ONNX model from an environment
and process of its own. The scenarios are those of the package, made short; nothing else differs.
"""

import json
import os
import re
import socket
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import psutil
import pytest
from waiting import until

from loadtest.record.calls import load
from loadtest.scenario.files import packaged, read
from loadtest.scenario.schema import Replay
from protos import inference_pb2, inference_pb2_grpc

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MODEL = "encoder"
HIDDEN, VOCABULARY = 8, 30_522
VALID, INVALID = 0, 3
# A pooled encoder without its layers: texts of any length in, one vector each out.
GRAPH = """
    <ir_version: 10, opset_import: ["" : 20]>
    encoder (int64[rows, length] input_ids, int64[rows, length] attention_mask)
        => (float[rows, 8] sentence_embedding) {
        vectors = Gather (table, input_ids)
        mask = Cast <to = 1> (attention_mask)
        mask_3d = Unsqueeze (mask, last)
        kept = Mul (vectors, mask_3d)
        sentence_embedding = ReduceSum <keepdims = 0> (kept, middle)
    }
"""
# Seconds and counts of the packaged scenarios; rates and numbers in flight stay.
LENGTHS = {
    r"\bduration_s = [\d.]+": "duration_s = 2.0",
    r"\bwarmup_s = [\d.]+": "warmup_s = 0.5",
    r"\bfor_s = [\d.]+": "for_s = 0.7",
    r"\bcalls = \d+": "calls = 200",
}
# What mixes calls of heed.v1 has none of this protocol's.
FOREIGN = {"mixed"}
SCENARIOS = sorted(set(packaged()) - FOREIGN)

# Others cover the protocol more shortly, against heed; building the environment takes a minute.
pytestmark = [pytest.mark.timeout(600), pytest.mark.thorough]


@dataclass(frozen=True)
class Server:
    """MLServer while it serves."""

    target: str
    metrics: str
    pid: int


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mlserver")
    venv.create(folder, with_pip=True)
    requirements = HERE / "mlserver_requirements.txt"
    installed = subprocess.run(
        [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "-r", requirements],
        capture_output=True,
        text=True,
        check=False,
    )
    if installed.returncode != 0:
        reason = f"pip could not install MLServer: {installed.stderr[-300:]}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder / "bin" / "mlserver"


def write_models(root: Path, ports: list[int]) -> None:
    """Write the model, and the settings of MLServer, which knows ports only by number."""
    model = onnx.parser.parse_model(GRAPH)
    rng = np.random.default_rng(1)
    constants = {
        "table": rng.normal(size=(VOCABULARY, HIDDEN)).astype(np.float32),
        "last": np.array([-1]),
        "middle": np.array([1]),
    }
    for name, value in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    folder = root / MODEL
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    settings = {
        "name": MODEL,
        "implementation": "mlserver_model.OnnxModel",
        "platform": "onnxruntime",
        "versions": ["1"],
        "parameters": {"uri": "./model.onnx", "version": "1"},
    }
    (folder / "model-settings.json").write_text(json.dumps(settings))
    http, rpc, metrics = ports
    server = {
        "host": "127.0.0.1",
        "http_port": http,
        "grpc_port": rpc,
        "metrics_port": metrics,
        "metrics_dir": str(root),
        "parallel_workers": 0,
        "debug": False,
    }
    (root / "settings.json").write_text(json.dumps(server))


@pytest.fixture(scope="module")
def server(command: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    ports = free_ports(3)
    write_models(root, ports)
    log = root / "log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [command, "start", "."],
            cwd=root,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(HERE), "NO_COLOR": "1"},
        ) as process,
    ):
        until(lambda: process.poll() is not None or is_ready(ports[1]))
        assert process.poll() is None, log.read_text()
        yield Server(f"127.0.0.1:{ports[1]}", f"http://127.0.0.1:{ports[2]}/metrics", process.pid)
        process.terminate()
        process.wait(30)


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def is_ready(port: int) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            answer = stub.ModelReady(inference_pb2.ModelReadyRequest(name=MODEL), timeout=1)
        except grpc.RpcError:
            return False
        return bool(answer.ready)


def run(folder: Path, server: Server, name: str, *options: str) -> tuple[int, dict[str, Any]]:
    """Run a packaged scenario, made short; return its exit code and report."""
    text = (ROOT / "loadtest" / "scenarios" / f"{name}.toml").read_text()
    for pattern, short in LENGTHS.items():
        text = re.sub(pattern, short, text)
    path = folder / f"{name}.toml"
    path.write_text(text)
    out = folder / "out"
    ended = subprocess.run(
        [
            sys.executable, "-m", "loadtest", "run", str(path), "--target", server.target,
            "--model", MODEL, "--rpc", "infer", "--out", str(out), *options,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert ended.returncode in {VALID, INVALID}, ended.stdout + ended.stderr
    return ended.returncode, json.loads((out / "report.json").read_text())


def trace(folder: Path) -> Path:
    """Write a recording of some seconds."""
    rng = np.random.default_rng(1)
    lines = [f"{at:.3f},{tokens}" for at, tokens in zip(
        np.sort(rng.uniform(0, 2, 60)), rng.integers(3, 60, 60), strict=True
    )]  # fmt: skip
    path = folder / "recorded.csv"
    path.write_text("at_s,tokens\n" + "\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_is_answered(name: str, server: Server, tmp_path: Path) -> None:
    options = ("--trace", str(trace(tmp_path))) if isinstance(read(name), Replay) else ()

    code, report = run(tmp_path, server, name, *options)

    calls = load(tmp_path / "out" / "calls.npz")
    assert report["codes"] == {"OK": len(calls.measured)}
    assert len(calls.measured) > 0
    assert report["errors"] == {}
    assert [one["rpc"] for one in report["requests"]] == ["infer"]
    broken = {reason["rule"] for reason in report["verdict"]["reasons"]}
    # Too short for its percentile, perhaps too much for this machine; never wrong.
    assert broken.isdisjoint({"errors", "undisturbed", "restarts"})
    assert code == (VALID if not broken else INVALID)


def test_the_server_is_found_and_sampled(server: Server, tmp_path: Path) -> None:
    _, report = run(tmp_path, server, "infer")

    assert f" {server.pid})" in report["samples"]["server_source"]
    assert report["telemetry"]["server"]["cores"] > 0
    assert report["samples"]["server_restarts"] == 0


def test_its_metrics_page_will_do_instead(server: Server, tmp_path: Path) -> None:
    _, report = run(tmp_path, server, "infer", "--metrics", server.metrics)

    assert report["samples"]["server_source"] == f"metrics at {server.metrics}"
    rss = psutil.Process(server.pid).memory_info().rss
    assert report["telemetry"]["server"]["rss_last_bytes"] == pytest.approx(rss, rel=0.2)


def test_a_model_that_is_not_there_is_refused(server: Server, tmp_path: Path) -> None:
    ended = subprocess.run(
        [
            sys.executable, "-m", "loadtest", "run", "infer", "--target", server.target,
            "--model", "nobody", "--out", str(tmp_path / "out"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip

    assert ended.returncode == 1
    assert "nobody" in ended.stderr
    assert "Traceback" not in ended.stderr
