"""The Unix socket: answers beside the port, is taken over from the dead and from nobody else."""

import signal
import socket
from pathlib import Path

import certificates
import grpc
import loopback
import pytest
from loopback import serve

from protos import inference_pb2 as oip
from protos import inference_pb2_grpc


def answers(path: Path) -> bool:
    with grpc.insecure_channel(f"unix:{path}") as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        return bool(stub.ServerReady(oip.ServerReadyRequest(), timeout=10).ready)


def test_socket_answers_beside_the_port_and_is_removed(repository: Path, tmp_path: Path) -> None:
    path = tmp_path / "heed.sock"
    with serve(repository, "--unix-socket", str(path)) as target:
        assert answers(path)
        with target.inference() as stub:
            assert stub.ServerReady(oip.ServerReadyRequest(), timeout=10).ready
        assert target.stop() == 0

    assert not path.exists()


def test_socket_stays_plaintext_beside_an_encrypted_port(repository: Path, tmp_path: Path) -> None:
    path = tmp_path / "heed.sock"
    pair = certificates.make(tmp_path, "server")
    with serve(repository, "--unix-socket", str(path), *pair.options):
        assert answers(path)


def test_socket_of_a_dead_server_is_taken_over(repository: Path, tmp_path: Path) -> None:
    path = tmp_path / "heed.sock"
    with serve(repository, "--unix-socket", str(path)) as target:
        target.process.send_signal(signal.SIGKILL)
        target.process.wait(30)
    assert path.is_socket()

    with serve(repository, "--unix-socket", str(path)):
        assert answers(path)


def test_socket_of_a_live_server_is_left_alone(repository: Path, tmp_path: Path) -> None:
    path = tmp_path / "heed.sock"
    with serve(repository, "--unix-socket", str(path)):
        ended = loopback.run(repository, "--unix-socket", str(path))

        assert (ended.returncode, answers(path)) == (2, True)
        assert "another server answers there" in ended.stderr


def test_failed_start_removes_its_socket(repository: Path, tmp_path: Path) -> None:
    path = tmp_path / "heed.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = loopback.run(repository, "--unix-socket", str(path), "--port", port)

    assert ended.returncode == 2
    assert not path.exists()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("file", "is a file and no socket"),
        ("missing/heed.sock", "create it"),
        ("long" * 30, "use a shorter path"),
    ],
)
def test_path_that_cannot_be_a_socket_is_refused(
    repository: Path, tmp_path: Path, name: str, hint: str
) -> None:
    (tmp_path / "file").write_text("precious")

    ended = loopback.run(repository, "--unix-socket", str(tmp_path / name))

    assert ended.returncode == 2
    assert hint in ended.stderr
    assert (tmp_path / "file").read_text() == "precious"
