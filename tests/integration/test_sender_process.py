"""Sending processes and their parents: what is refused before a run, and what happens to either."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import certificates
import msgspec
import psutil
import pytest
from sender_runs import Stub, collect, order, ready, run, stub
from waiting import until

from loadtest.errors import RunFailed
from loadtest.scenario.requests import Request, Rpc
from loadtest.scenario.schema import AnyScenario, Closed, Open, Replay
from loadtest.sender.child import Child
from loadtest.sender.order import FAILED, Order, Security, read_frame

SHORT = Closed(in_flight=2, duration_s=0.2, warmup_s=0)
ENDLESS = Closed(in_flight=2, duration_s=600, warmup_s=0)
NOBODY = "127.0.0.1:1"


@pytest.fixture(scope="module")
def server() -> Iterator[Stub]:
    with stub() as running:
        yield running


@pytest.fixture(scope="module")
def guarded() -> Iterator[Stub]:
    with stub("--keys") as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def pair(folder: Path) -> certificates.Pair:
    return certificates.make(folder, "server")


@pytest.fixture(scope="module")
def caller(folder: Path) -> certificates.Pair:
    return certificates.make(folder, "caller")


@pytest.fixture(scope="module")
def encrypted(pair: certificates.Pair, caller: certificates.Pair) -> Iterator[Stub]:
    """A server that wants the certificate of its callers."""
    files = ("--cert", str(pair.cert), "--key", str(pair.key), "--callers", str(caller.cert))
    with stub(*files) as running:
        yield running


def refusal(what: Order) -> str:
    """Return why a sender cannot do what it is told."""
    with closing(Child(what)) as child, pytest.raises(RunFailed) as failed:
        child.ready()
    return str(failed.value)


def calling(rpc: Rpc, in_flight: int = 1) -> Closed:
    return Closed(in_flight=in_flight, requests=(Request(rpc=rpc, texts_per_call=2),))


@pytest.mark.parametrize(
    ("scenario", "model", "said"),
    [
        (SHORT, "nobody", "has no model called nobody"),
        (SHORT, "wrong", "is wrong a model for `rpc` in the scenario?"),
        (SHORT, "away", "takes no calls of heed.v1.TextService/Embed now"),
        (calling("rerank"), "stub", "does not serve heed.v1.TextService/Rerank"),
        (calling("infer"), "nobody", "has no model called nobody"),
        (calling("embed-stream", 257), "stub", "lower in_flight or use more workers"),
        (Replay(), "stub", "holds no arrivals"),
    ],
)
def test_what_cannot_work_is_said_before_the_run(
    server: Stub, scenario: AnyScenario, model: str, said: str
) -> None:
    assert said in refusal(order(scenario, server.address, model))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (NOBODY, f"nothing serves at {NOBODY} without TLS"),
        ("nobody.invalid:1", "nothing serves at nobody.invalid:1"),
        ("", "is no address; correct the target to HOST:PORT"),
    ],
)
def test_a_wrong_target_is_said_before_the_run(target: str, said: str) -> None:
    assert said in refusal(order(SHORT, target))


def test_every_kind_of_request_is_tried_before_the_run(server: Stub) -> None:
    kinds = (Request(), Request(rpc="classify", weight=0.01))

    said = refusal(order(Open(rate=1, requests=kinds), server.address))

    assert "does not serve heed.v1.TextService/Classify" in said


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ((), "refused the key"),
        ((("authorization", "Bearer other"),), "refused the key"),
        ((("Not A Name", "x"),), "the metadata cannot be sent"),
    ],
)
def test_a_refused_key_is_said_before_the_run(
    guarded: Stub, metadata: tuple[tuple[str, str], ...], said: str
) -> None:
    assert said in refusal(order(SHORT, guarded.address, security=Security(metadata=metadata)))


def test_a_key_goes_with_every_call(guarded: Stub) -> None:
    security = Security(metadata=(("authorization", "Bearer secret"),))

    rows = run(order(SHORT, guarded.address, security=security)).rows

    assert set(rows["code"].tolist()) == {0}


def secured(
    server: certificates.Pair, caller: certificates.Pair | None, name: str | None = None
) -> Security:
    return Security(
        is_tls=True,
        ca=server.cert.read_bytes(),
        certificate=None if caller is None else caller.cert.read_bytes(),
        key=None if caller is None else caller.key.read_bytes(),
        server_name=name,
    )


def test_both_ends_can_prove_who_they_are(
    encrypted: Stub, pair: certificates.Pair, caller: certificates.Pair
) -> None:
    rows = run(order(SHORT, encrypted.address, security=secured(pair, caller))).rows

    assert set(rows["code"].tolist()) == {0}


def test_tls_that_is_not_accepted_is_said_before_the_run(
    encrypted: Stub, server: Stub, pair: certificates.Pair, caller: certificates.Pair
) -> None:
    not_accepted = "did not accept the TLS connection"
    half = msgspec.structs.replace(secured(pair, caller), key=None)

    for target, security, said in (
        (encrypted, secured(pair, None), not_accepted),
        (encrypted, secured(caller, caller), not_accepted),
        (encrypted, secured(pair, caller, "example.org"), not_accepted),
        (encrypted, half, "give both or neither"),
        (encrypted, Security(), "without TLS"),
        (server, secured(pair, caller), not_accepted),
    ):
        assert said in refusal(order(SHORT, target.address, security=security))


def test_a_child_that_dies_is_said_to(server: Stub) -> None:
    with ready(order(ENDLESS, server.address)) as child:
        child.start(time.monotonic_ns())
        with pytest.raises(RunFailed, match="ended with code -9 in the middle; it wrote: nothing"):
            collect(child, on_rows=lambda: os.kill(child.pid, signal.SIGKILL))


def test_a_child_that_is_done_can_be_told_to_stop_and_closed_again(server: Stub) -> None:
    with ready(order(SHORT, server.address)) as child:
        child.start(time.monotonic_ns())
        collect(child)
        child.stop("too late")
        child.close()
        child.stop("far too late")


def test_closing_ends_a_child_in_the_middle_of_a_run(server: Stub) -> None:
    with ready(order(ENDLESS, server.address)) as child:
        child.start(time.monotonic_ns())
        process = psutil.Process(child.pid)

    assert not process.is_running()


PARENT = """
import sys, time, msgspec
from loadtest.sender.child import Child
from loadtest.sender.order import Order
child = Child(msgspec.json.decode(sys.argv[1], type=Order))
child.ready()
child.start(time.monotonic_ns())
print(child.pid, flush=True)
for _ in child.frames():
    pass
"""


def test_a_child_ends_with_its_parent(server: Stub) -> None:
    told = msgspec.json.encode(order(ENDLESS, server.address)).decode()
    command = [sys.executable, "-c", PARENT, told]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()

    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_control_c_is_for_the_parent_to_understand(server: Stub) -> None:
    with ready(order(SHORT, server.address)) as child:
        child.start(time.monotonic_ns())
        ran = collect(child, on_rows=lambda: os.kill(child.pid, signal.SIGINT))

    assert ran.done.stopped == ""


# Prints when gRPC is imported, which the sender does when its streams are its own.
NOISY = """
import os, sys
class Noisy:
    def find_spec(self, name, *_):
        if name.startswith("grpc"):
            print("imported", flush=True)
            os.write(1, b"imported")
sys.meta_path.insert(0, Noisy())
"""


def test_what_a_library_prints_does_not_come_between_the_frames(
    server: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(NOISY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    ran = run(order(SHORT, server.address))

    assert set(ran.rows["code"].tolist()) == {0}


@pytest.mark.parametrize("line", [b"nonsense\n", b'{"target": 3}\n'])
def test_an_order_that_is_none_is_refused(line: bytes) -> None:
    command = [sys.executable, "-m", "loadtest.sender"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line)
        process.stdin.flush()
        frame = read_frame(process.stdout.read)

    assert frame is not None
    assert frame[0] == FAILED
    assert process.returncode == 1


def test_a_command_that_is_none_stops_the_run(server: Stub) -> None:
    with ready(order(ENDLESS, server.address)) as child:
        child.start(time.monotonic_ns())
        assert child._process.stdin is not None  # noqa: SLF001  no parent of ours would say that
        child._process.stdin.write(b"nonsense\n")  # noqa: SLF001
        child._process.stdin.flush()  # noqa: SLF001
        ran = collect(child)

    assert ran.done.stopped.startswith("the parent sent what is no command")


GEVENT = """
from gevent import monkey
monkey.patch_all()
import json, sys, time, gevent, msgspec, numpy
from loadtest.sender.child import Child
from loadtest.sender.order import Order
ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        gevent.sleep(0.01)
gevent.spawn(tick)
child = Child(msgspec.json.decode(sys.argv[1], type=Order))
child.ready()
before = ticks
child.start(time.monotonic_ns())
gevent.spawn_later(0.3, child.stop, "a greenlet said so")
frames = list(child.frames())
child.close()
calls = sum(len(frame) for frame in frames if isinstance(frame, numpy.ndarray))
print(json.dumps([frames[-1].stopped, calls, ticks - before]))
"""


def test_a_parent_with_gevent_goes_on_meanwhile(server: Stub) -> None:
    told = msgspec.json.encode(order(ENDLESS, server.address)).decode()
    ended = subprocess.run(
        [sys.executable, "-c", GEVENT, told], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stderr
    stopped, calls, ticks = json.loads(ended.stdout)
    assert stopped == "a greenlet said so"
    assert calls > 0
    assert ticks > 5
