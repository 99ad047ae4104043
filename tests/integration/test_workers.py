"""Several processes on one port: spread, merged metrics, restarts, drain."""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import loopback
import pytest
from bundles import build_encoder
from loopback import Target, serve
from waiting import until

from protos.heed.v1 import text_pb2 as pb
from server.config import usable_cores

pytestmark = pytest.mark.skipif(len(usable_cores()) < 2, reason="needs a core for each worker")

TWO = ("--workers", "2", "--threads", "2")
SLOW = "slow " * 25
OK = 'heed_requests_total{code="OK",method="/heed.v1.TextService/Embed",worker="%d"}'


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def embed(target: Target, text: str = "word1") -> None:
    """Make one call on a new connection."""
    with target.text() as stub:
        stub.Embed(pb.EmbedRequest(model="tiny", texts=[text]), timeout=30)


def reach_both(target: Target) -> bool:
    """Make one more call; return whether each worker has answered one since it started."""
    embed(target)
    return all(target.metric(OK % worker) > 0 for worker in (0, 1))


@pytest.fixture(scope="module")
def pair(repository: Path) -> Iterator[Target]:
    with serve(repository, *TWO) as target:
        yield target


def test_connections_are_spread_over_the_workers(pair: Target) -> None:
    until(lambda: reach_both(pair))


def test_one_ops_port_answers_for_all(pair: Target) -> None:
    assert pair.get("/livez") == (200, "live\n")
    assert pair.get("/readyz") == (200, "ready\n")
    metrics = pair.get("/metrics")[1]
    assert metrics.count("# TYPE heed_requests_total counter") == 1
    assert pair.metric("heed_ready{") == 2
    assert pair.metric("process_start_time_seconds{") > 0
    assert pair.metric("heed_worker_restarts_total{") == 0


def test_cores_are_shared_out(pair: Target) -> None:
    cores = [os.sched_getaffinity(pid) for pid in children(pair.process.pid)]

    assert len(cores) == 2
    assert not cores[0] & cores[1]
    assert cores[0] | cores[1] == set(usable_cores())
    assert pair.metric("heed_session_threads{") == 2


def test_log_says_which_worker_speaks(pair: Target) -> None:
    lines = [json.loads(line) for line in pair.log.read_text().splitlines()]

    assert {line.get("worker") for line in lines if line["message"] == "serving"} == {0, 1}


def test_merged_metrics_follow_the_conventions(pair: Target) -> None:
    if shutil.which("promtool") is None:
        assert os.environ.get("CI") != "true", "promtool is missing"
        pytest.skip("promtool is missing: apt-get install prometheus")
    ended = subprocess.run(
        ["promtool", "check", "metrics"],  # noqa: S607  (found on the path above)
        input=pair.get("/metrics")[1],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")


def test_worker_that_is_killed_comes_back(repository: Path) -> None:
    with serve(repository, *TWO) as target:
        victim = children(target.process.pid)[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda: target.metric("heed_worker_restarts_total{") == 1)
        embed(target)
        until(lambda: target.get("/readyz")[0] == 200)

        assert victim not in children(target.process.pid)
        until(lambda: reach_both(target))
        assert "a worker ended and is started again" in target.log.read_text()
        assert target.stop() == 0


def test_stop_signal_drains_every_worker(repository: Path) -> None:
    with serve(repository, *TWO) as target:
        with target.text() as one, target.text() as other:
            message = pb.EmbedRequest(model="tiny", texts=[SLOW])
            calls = [stub.Embed.future(message, timeout=60) for stub in (one, other)]
            until(lambda: target.metric("heed_inflight_requests{") == 2)
            target.process.send_signal(signal.SIGTERM)

            assert [call.exception() for call in calls] == [None, None]
        assert target.process.wait(30) == 0


def test_second_signal_forces_every_worker(repository: Path) -> None:
    with serve(repository, *TWO, "--drain-delay-s", "20") as target, target.text() as stub:
        message = pb.EmbedRequest(model="tiny", texts=[SLOW])
        calls = [stub.Embed.future(message, timeout=60) for _ in range(4)]
        until(lambda: target.metric("heed_inflight_requests{") == 4)
        target.process.send_signal(signal.SIGTERM)
        until(lambda: target.metric("heed_draining{") == 2)
        assert target.get("/readyz")[0] == 503
        target.process.send_signal(signal.SIGTERM)

        assert target.process.wait(30) == 1
        codes = [call.code() for call in calls]
        assert set(codes) <= {
            grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED
        }  # fmt: skip


def test_workers_end_with_their_parent(repository: Path) -> None:
    with serve(repository, *TWO) as target:
        left = children(target.process.pid)
        target.process.kill()
        target.process.wait(30)

        until(lambda: not any(is_running(pid) for pid in left))


def is_running(pid: int) -> bool:
    """Return whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_worker_that_cannot_start_ends_all_and_says_why_once(tmp_path: Path) -> None:
    models = tmp_path / "models"
    (build_encoder(models) / "tokenizer.json").unlink()

    ended = loopback.run(models, *TWO)

    assert ended.returncode == 1
    assert ended.stderr.count("tokenizer.json is missing") == 1
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["--workers", "4096"], "cores for them"),
        ([*TWO, "--threads", "1"], "each worker runs at least one thread"),
        ([*TWO, "--api-keys", "missing.toml"], "missing.toml: No such file"),
        ([*TWO, "--host", "nowhere.invalid"], "change --host"),
    ],
)
def test_what_workers_cannot_do_is_a_usage_error(
    repository: Path, options: list[str], hint: str
) -> None:
    ended = loopback.run(repository, *options)

    assert ended.returncode == 2
    assert ended.stderr.count(hint) == 1


def test_port_of_another_server_is_refused_even_if_it_shares(repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        ended = loopback.run(repository, *TWO, "--port", str(taken.getsockname()[1]))

    assert ended.returncode == 2
    assert "change --host or --port" in ended.stderr
