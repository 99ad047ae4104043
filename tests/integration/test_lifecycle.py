"""Deadlines, cancellation, overload, drain: every accepted call ends in exactly one answer."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import grpc
import pytest
from loopback import Target, serve
from waiting import until

from protos import inference_pb2 as oip
from protos.heed.v1 import text_pb2 as pb
from protos.heed.v1 import text_pb2_grpc

SLOW = "slow " * 25
"""Keeps a run busy long enough for signals and cancellations to arrive in the middle of it."""

Call: TypeAlias = "grpc.Future[pb.EmbedResponse]"
Stub = text_pb2_grpc.TextServiceStub


def start(stub: Stub, *texts: str, timeout: float | None = 60) -> Call:
    call: Call = stub.Embed.future(pb.EmbedRequest(model="tiny", texts=texts), timeout=timeout)
    return call


def code(call: Call) -> str:
    """Wait for the end of a call and return its status."""
    error = call.exception()
    if error is None:
        return "OK"
    assert isinstance(error, grpc.Call)
    return error.code().name


def inflight(target: Target) -> float:
    return target.metric("heed_inflight_requests")


@contextmanager
def one_thread(repository: Path, *options: str) -> Iterator[tuple[Target, Stub]]:
    with serve(repository, "--threads", "1", *options) as target, target.text() as stub:
        yield target, stub


def busy(target: Target) -> None:
    """Wait until the only thread is inside a run and its queue is empty again."""
    until(lambda: inflight(target) >= 1 and target.metric("heed_queue_requests") == 0)


def test_cancelled_caller_leaves_batch_mates_answered(repository: Path) -> None:
    with one_thread(repository) as (target, stub):
        first = start(stub, SLOW)
        busy(target)
        mates = [start(stub, f"word{number} slow") for number in range(4)]
        until(lambda: target.metric("heed_queue_requests") == 4)
        mates[1].cancel()
        mates_codes = [code(mates[number]) for number in (0, 2, 3)]

        assert (code(first), mates_codes) == ("OK", ["OK"] * 3)
        assert target.metric('heed_rejected_total{reason="cancelled"}') == 1
        assert start(stub, "word1").exception() is None


def test_cancel_in_the_middle_of_a_run_leaves_mates_answered(repository: Path) -> None:
    with one_thread(repository) as (target, stub):
        blocker = start(stub, SLOW)
        busy(target)
        batch = [start(stub, SLOW), start(stub, "word1"), start(stub, "word2")]
        until(lambda: target.metric("heed_queue_requests") == 3)
        assert code(blocker) == "OK"
        until(lambda: target.metric("heed_queue_requests") == 0)
        batch[0].cancel()

        assert [code(call) for call in batch[1:]] == ["OK", "OK"]


def test_expired_requests_never_reach_the_runtime(repository: Path) -> None:
    with one_thread(repository) as (target, stub):
        blocker = start(stub, SLOW)
        busy(target)
        expired = [start(stub, "word1", timeout=0.05) for _ in range(3)]
        assert [code(call) for call in expired] == ["DEADLINE_EXCEEDED"] * 3
        until(lambda: target.metric("heed_queue_requests") == 0)
        assert not blocker.done(), "the expired calls were answered while the run went on"
        assert code(blocker) == "OK"

        assert target.metric("heed_batch_sequences_sum") == 1
        assert target.metric('heed_rejected_total{reason="expired"}') == 3


def test_full_queue_refuses_at_once(repository: Path) -> None:
    with one_thread(repository, "--max-queue-requests", "2") as (target, stub):
        blocker = start(stub, SLOW)
        busy(target)
        waiting = [start(stub, "word1"), start(stub, "word2")]
        until(lambda: target.metric("heed_queue_requests") == 2)
        refused = start(stub, "word3")

        assert code(refused) == "RESOURCE_EXHAUSTED"
        assert not blocker.done()
        assert [code(call) for call in (blocker, *waiting)] == ["OK"] * 3
        assert target.metric('heed_rejected_total{reason="queue_full"}') == 1


def test_call_that_no_queue_can_hold_is_the_callers_fault(repository: Path) -> None:
    with one_thread(repository, "--max-queue-tokens", "10") as (_, stub):
        call = start(stub, "word1 word2", "word3 word4", "word5")

        assert code(call) == "INVALID_ARGUMENT"
        assert "split it" in str(call.exception())


def test_full_door_refuses_work_but_not_questions(repository: Path) -> None:
    with one_thread(repository, "--max-inflight-requests", "1") as (target, stub):
        blocker = start(stub, SLOW)
        until(lambda: inflight(target) == 1)

        assert code(start(stub, "word1")) == "RESOURCE_EXHAUSTED"
        with target.inference() as inference:
            assert inference.ServerReady(oip.ServerReadyRequest()).ready
        assert code(blocker) == "OK"


def test_drain_answers_every_accepted_call_and_exits_0(repository: Path) -> None:
    with serve(repository) as target:
        codes: list[str] = []
        stop = threading.Event()

        def call_until_refused() -> None:
            with target.text() as stub:
                while not stop.is_set():
                    codes.append(code(start(stub, "word1 slow")))
                    if codes[-1] != "OK":
                        return

        callers = [threading.Thread(target=call_until_refused) for _ in range(32)]
        for caller in callers:
            caller.start()
        until(lambda: len(codes) >= 64)
        status = target.stop()
        for caller in callers:
            caller.join()
        stop.set()

    assert status == 0
    assert set(codes) == {"OK", "UNAVAILABLE"}
    assert codes.count("UNAVAILABLE") == 32


def test_health_turns_first_and_the_delay_still_serves(repository: Path) -> None:
    with serve(repository, "--drain-delay-s", "20") as target, target.text() as stub:
        assert target.get("/readyz")[0] == 200
        target.process.send_signal(signal.SIGTERM)
        until(lambda: target.get("/readyz")[0] == 503)

        assert target.get("/livez")[0] == 200
        assert target.metric("heed_draining") == 1
        assert code(start(stub, "word1")) == "OK"
        target.process.send_signal(signal.SIGTERM)
        assert target.process.wait(30) == 0, "nobody was inside, so nobody was lost"


def test_second_signal_forces(repository: Path) -> None:
    with one_thread(repository, "--drain-delay-s", "0") as (target, stub):
        calls = [start(stub, SLOW, SLOW, SLOW) for _ in range(8)]
        until(lambda: inflight(target) == 8)
        target.process.send_signal(signal.SIGTERM)
        until(lambda: target.metric("heed_draining") == 1)
        target.process.send_signal(signal.SIGTERM)

        assert target.process.wait(30) == 1
        assert set(map(code, calls)) <= {"UNAVAILABLE", "CANCELLED", "OK"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_server_stops_at_once(repository: Path, number: signal.Signals) -> None:
    with serve(repository) as target:
        target.process.send_signal(number)

        assert target.process.wait(10) == 0


def test_caller_that_dies_frees_its_place(repository: Path) -> None:
    with one_thread(repository) as (target, stub):
        blocker = start(stub, SLOW)
        busy(target)
        with target.text() as dying:
            doomed = start(dying, "word1")  # a call that nobody holds is cancelled by gRPC
            until(lambda: target.metric("heed_queue_requests") == 1)
        until(lambda: target.metric("heed_queue_requests") == 0)

        assert not blocker.done()
        assert (code(doomed), code(blocker)) == ("CANCELLED", "OK")
