"""What is sampled of real processes: found by port, path, id and metrics page; lost and back."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from loopback import Target
from waiting import until

from loadtest.telemetry.find import server
from loadtest.telemetry.gpus import Gpus
from loadtest.telemetry.sampler import Sampler

# Uses more CPU than the system's accounts round away.
LISTEN = """
import socket, sys, time
while time.process_time() < 0.05:
    pass
if sys.argv[1].isdecimal():
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), reuse_port=True)
else:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen()
print(listener.getsockname(), flush=True)
sys.stdin.read()
"""
# A parent that only waits, and a child that listens with what it was given.
PARENT = """
import socket, subprocess, sys
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
code = "import sys; print('up', flush=True); sys.stdin.read()"
child = subprocess.Popen([sys.executable, "-c", code], pass_fds=[listener.fileno()],
                         stdout=subprocess.PIPE, stdin=subprocess.PIPE)
child.stdout.readline()
print(port, child.pid, flush=True)
child.wait()
sys.stdin.read()
"""


@contextmanager
def script(code: str, *arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Run it until the block ends; its first line is what it says."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
        return number


def test_a_listener_is_found_by_its_port(port: int) -> None:
    with script(LISTEN, str(port)) as (process, _):
        source = server(f"localhost:{port}", None, None)
        sample = source.look(0.0)

    assert f" {process.pid})" in source.description
    assert sample is not None
    assert sample.rss_bytes > 1 << 20
    assert sample.threads == 1
    assert sample.cpu_s > 0


def test_a_listener_is_found_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "listen.sock"
    with script(LISTEN, str(path)) as (process, _):
        source = server(f"unix:{path}", None, None)

    assert str(process.pid) in source.description


def test_a_server_that_came_back_was_restarted_once(port: int) -> None:
    with script(LISTEN, str(port)) as (process, _):
        source = server(f"127.0.0.1:{port}", None, None)
        before = source.look(0.0)
        process.kill()
        process.wait()
        assert source.look(1.0) is None
        assert source.look(2.0) is None
    assert source.restarts == 1
    with script(LISTEN, str(port)):
        after = source.look(3.0)

    assert source.restarts == 1
    assert before is not None
    assert after is not None
    assert after.cpu_s > before.cpu_s


def test_a_process_named_by_its_id_that_ends_is_lost_once(port: int) -> None:
    with script(LISTEN, str(port)) as (process, _):
        source = server("192.0.2.1:1", process.pid, None)
        assert source.look(0.0) is not None
        process.kill()
        # Not waited for: it stays in the process table, and has ended all the same.
        until(lambda: source.look(1.0) is None)
        source.look(2.0)

    assert source.restarts == 1
    assert str(process.pid) in source.notes[0]


def test_children_count_and_one_that_takes_calls_is_watched() -> None:
    with script(PARENT) as (process, said):
        port, child = map(int, said.split())
        source = server(f"127.0.0.1:{port}", process.pid, None)
        sample = source.look(0.0)
        assert sample is not None
        assert sample.threads == 2
        os.kill(child, 9)
        until(lambda: source.look(1.0) is not None and source.restarts == 1)
        source.look(2.0)

    assert source.restarts == 1


def test_heed_is_sampled_by_its_metrics_page(target: Target) -> None:
    source = server(target.address, None, f"http://{target.ops}/metrics")

    sample = source.look(0.0)

    assert sample is not None
    assert sample.rss_bytes > 1 << 20
    assert source.restarts == 0


def test_a_sampler_brings_everything_back(port: int) -> None:
    with script(LISTEN, str(port)):
        sampler = Sampler(lambda: [os.getpid()], server(f"127.0.0.1:{port}", None, None))
        for second in range(3):
            sum(number * number for number in range(300_000))
            sampler.look(float(second))
        found = sampler.finish()

    assert [sample.at_s for sample in found.generator] == [0.0, 1.0, 2.0]
    assert len(found.server) == 3
    assert found.generator[2].cpu_s > found.generator[0].cpu_s
    assert found.server_restarts == 0
    assert found.server_source.startswith("listening at")
    for sample in found.host:
        assert 0 <= sample.busy_cores <= (os.cpu_count() or 1)


def test_a_generator_named_twice_counts_once() -> None:
    once = Sampler(lambda: [os.getpid()], None)
    twice = Sampler(lambda: [os.getpid(), os.getpid()], None)
    once.look(0.0)
    twice.look(0.0)

    first, second = once.finish().generator[0], twice.finish().generator[0]
    assert second.rss_bytes < 1.5 * first.rss_bytes


def test_generator_processes_may_come_and_go_between_looks(port: int) -> None:
    pids = [os.getpid()]
    sampler = Sampler(lambda: pids, None)
    sampler.look(0.0)
    with script(LISTEN, str(port)) as (process, _):
        pids.append(process.pid)
        sampler.look(1.0)
    sampler.look(2.0)
    found = sampler.finish().generator

    assert found[1].rss_bytes > found[0].rss_bytes
    assert found[2].cpu_s >= found[1].cpu_s


def test_a_machine_without_a_driver_has_no_gpus_to_speak_of() -> None:
    if Path("/proc/driver/nvidia/version").exists():
        pytest.skip("this machine has GPUs")
    gpus = Gpus()

    assert (gpus.look(0.0), gpus.notes) == ([], [])
    gpus.close()
