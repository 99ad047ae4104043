"""Sending processes against a stub: what is sent, when it counts as due, and what is recorded."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
import pytest
from sender_runs import Stub, collect, order, ready, run, run_together, stub

from loadtest.arrivals.schedule import schedule
from loadtest.record.row import WARMUP, WRONG_ANSWER
from loadtest.scenario.lengths import Fixed
from loadtest.scenario.requests import Request
from loadtest.scenario.schema import AnyScenario, Arrival, Closed, Offline, Open, Replay
from loadtest.sender.order import Order

NS_PER_S = 1_000_000_000
DEADLINE_EXCEEDED, UNAVAILABLE = 4, 14
RECORDED = tuple(
    Arrival(at_s, (3 + number % 5,)) for number, at_s in enumerate(np.linspace(0, 0.5, 60).tolist())
)
SCHEDULED: list[Open | Replay] = [
    Open(rate=200, duration_s=0.5, warmup_s=0.2),
    Replay(recorded=RECORDED, warmup_s=0.2),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Stub]:
    with stub("--slow-s", "0.5") as running:
        yield running


def split(whole: Order, workers: int) -> Sequence[Order]:
    return [
        msgspec.structs.replace(whole, worker=worker, workers=workers) for worker in range(workers)
    ]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("scenario", SCHEDULED, ids=["open", "replay"])
def test_a_schedule_is_sent_whole_by_any_number_of_senders(
    server: Stub, scenario: Open | Replay, workers: int
) -> None:
    calls, ran = run_together(split(order(scenario, server.address), workers))

    whole = schedule(scenario)
    rows = calls.rows
    assert rows["index"].tolist() == list(range(len(whole)))
    assert np.array_equal(rows["scheduled_ns"], whole.instants_ns)
    assert np.array_equal(rows["phase"], whole.phases)
    assert np.array_equal(rows["worker"], np.arange(len(whole)) % workers)
    assert set(rows["code"].tolist()) == {0}
    for one in ran:
        assert one.done.measured_from_ns == whole.measured_from_ns
        assert one.done.end_ns == whole.span_ns
        assert one.done.stopped == ""
        assert one.done.cpu_s > 0


def test_the_clocks_of_a_call_are_in_order(server: Stub) -> None:
    rows = run(order(SCHEDULED[0], server.address)).rows

    assert (rows["scheduled_ns"] <= rows["sent_ns"]).all()
    assert (rows["sent_ns"] < rows["done_ns"]).all()
    assert np.array_equal(rows["first_ns"], rows["done_ns"])


def test_a_replay_sends_each_recorded_call_with_its_own_body(server: Stub) -> None:
    rows = run(order(SCHEDULED[1], server.address)).rows

    recorded = np.sort(rows[rows["phase"] == 0], order="index")
    assert recorded["payload"].tolist() == list(range(len(RECORDED)))


def test_late_calls_are_sent_at_once_and_count_as_late(server: Stub) -> None:
    scenario = Open(rate=100, duration_s=0.4, warmup_s=0)

    rows = run(order(scenario, server.address), in_ns=-10 * NS_PER_S).rows

    assert sorted(rows["index"].tolist()) == list(range(len(schedule(scenario))))
    assert (rows["sent_ns"] - rows["scheduled_ns"] > 9 * NS_PER_S).all()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_closed_loop_keeps_its_share_in_flight(server: Stub, workers: int) -> None:
    scenario = Closed(in_flight=4, duration_s=0.4, warmup_s=0.2)

    calls, ran = run_together(split(order(scenario, server.address), workers))

    for worker, one in enumerate(ran):
        numbers = np.sort(one.rows["index"])
        assert numbers.tolist() == [n * workers + worker for n in range(len(numbers))]
        assert one.done.most_in_flight == 4 // workers
        assert one.done.measured_from_ns == round(0.2 * NS_PER_S)
        assert one.done.end_ns == round(0.6 * NS_PER_S)
        assert len(one.calls.probe_at_ns) > 0
    rows = calls.rows
    is_early = rows["scheduled_ns"] < round(0.2 * NS_PER_S)
    assert np.array_equal(rows["phase"], np.where(is_early, WARMUP, 0))
    assert 0 < is_early.sum() < len(rows)
    assert (rows["scheduled_ns"] < round(0.6 * NS_PER_S)).all()
    assert set(rows["code"].tolist()) == {0}


def test_a_single_stream_sends_when_the_last_answer_is_there(server: Stub) -> None:
    rows = run(order(Closed(in_flight=1, duration_s=0.3, warmup_s=0), server.address)).rows

    rows = np.sort(rows, order="index")
    assert (rows["scheduled_ns"][1:] >= rows["done_ns"][:-1]).all()


def test_a_worker_without_a_share_of_a_closed_loop_waits_for_the_end(server: Stub) -> None:
    scenario = Closed(in_flight=1, duration_s=0.1, warmup_s=0)

    _, (_, idle) = run_together(split(order(scenario, server.address), 2))

    assert len(idle.rows) == 0
    assert idle.done.end_ns == round(0.1 * NS_PER_S)


@pytest.mark.parametrize("workers", [1, 3])
def test_an_offline_run_sends_every_call_once_and_all_are_due_together(
    server: Stub, workers: int
) -> None:
    scenario = Offline(calls=500, in_flight=2, warmup_s=0.1)

    calls, ran = run_together(split(order(scenario, server.address), workers))

    measured = calls.measured
    assert measured.rows["index"].tolist() == list(range(500))
    assert measured.rows["payload"].tolist() == list(range(500))
    assert len(calls) > len(measured)
    for one in ran:
        mine = one.calls.measured.rows
        assert set(mine["scheduled_ns"].tolist()) == {one.done.measured_from_ns}
        assert one.done.end_ns == mine["done_ns"].max()
        assert one.done.measured_from_ns >= round(0.1 * NS_PER_S)


def test_too_many_in_flight_end_the_run(server: Stub) -> None:
    scenario = Open(rate=100, duration_s=5, warmup_s=0, max_in_flight=3)

    ran = run(order(scenario, server.address, "slow"))

    assert ran.done.stopped == "3 calls of one process were in flight, the safety limit"
    assert ran.done.most_in_flight == 3
    assert ran.done.end_ns < 5 * NS_PER_S
    # Rows come in the order in which calls ended, which several connections do not keep.
    assert sorted(ran.rows["index"].tolist()) == [0, 1, 2]


@pytest.mark.parametrize(
    "scenario",
    [
        Open(rate=200, duration_s=600, warmup_s=0),
        Closed(in_flight=2, duration_s=600, warmup_s=0),
        Closed(in_flight=2, duration_s=600, warmup_s=600),
        Offline(calls=10_000_000, in_flight=2, warmup_s=0),
        Offline(calls=1, warmup_s=600),
    ],
    ids=["open", "closed", "warming up", "offline", "offline warming up"],
)
def test_the_parent_can_stop_a_run(server: Stub, scenario: AnyScenario) -> None:
    with ready(order(scenario, server.address)) as child:
        child.start(time.monotonic_ns())
        ran = collect(child, on_rows=lambda: child.stop("enough"))

    assert ran.done.stopped == "enough"
    assert ran.done.end_ns < 600 * NS_PER_S
    if isinstance(scenario, Offline):
        assert ran.done.end_ns >= ran.done.measured_from_ns
    assert len(ran.rows) > 0
    assert set(ran.rows["code"].tolist()) == {0}


def test_a_run_that_is_stopped_before_it_begins_has_no_calls(server: Stub) -> None:
    with ready(order(Closed(in_flight=2), server.address)) as child:
        child.stop("never mind")
        ran = collect(child)

    assert len(ran.rows) == 0
    assert ran.done.stopped == "never mind"
    assert ran.done.end_ns < ran.done.measured_from_ns


def test_a_dead_server_is_recorded_and_not_hammered() -> None:
    lanes, seconds = 4, 1.5
    scenario = Closed(in_flight=lanes, duration_s=seconds, warmup_s=0)
    with stub() as dying, ready(order(scenario, dying.address)) as child:
        child.start(time.monotonic_ns())
        ran = collect(child, on_rows=dying.process.kill)

    codes = Counter(ran.rows["code"].tolist())
    assert codes[0] > 0
    assert lanes < codes[UNAVAILABLE] <= lanes * seconds * 100 + lanes
    assert ran.done.stopped == ""
    assert sum(ran.done.errors.values()) == codes[UNAVAILABLE]
    assert all(text.startswith("UNAVAILABLE: ") for text in ran.done.errors)


def test_every_call_ends_by_its_deadline(server: Stub) -> None:
    scenario = Open(rate=50, duration_s=0.3, warmup_s=0, deadline_s=0.1)

    ran = run(order(scenario, server.address, "slow"))

    assert len(ran.rows) == len(schedule(scenario))
    assert set(ran.rows["code"].tolist()) == {DEADLINE_EXCEEDED}


def test_an_answer_to_another_question_is_recorded_as_wrong(server: Stub) -> None:
    ran = run(order(Open(rate=50, duration_s=0.3, warmup_s=0), server.address, "turning"))

    assert set(ran.rows["code"].tolist()) == {WRONG_ANSWER}
    assert ran.done.errors == {"WRONG_ANSWER: /heed.v1.TextService/Embed": len(ran.rows)}


@pytest.mark.parametrize(
    "scenario",
    [
        Open(rate=50, duration_s=0.4, warmup_s=0),
        Closed(in_flight=3, duration_s=0.3, warmup_s=0),
        Offline(calls=20, in_flight=3, warmup_s=0),
    ],
    ids=["open", "closed", "offline"],
)
def test_a_stream_is_one_call_and_has_a_first_answer(server: Stub, scenario: AnyScenario) -> None:
    streams = Request(rpc="embed-stream", texts_per_call=50, lengths=Fixed(tokens=3))
    scenario = msgspec.structs.replace(scenario, requests=(streams,))

    rows = run(order(scenario, server.address)).rows

    assert len(rows) > 0
    assert set(rows["code"].tolist()) == {0}
    assert set(rows["texts"].tolist()) == {50}
    assert set(rows["tokens"].tolist()) == {150}
    assert (rows["sent_ns"] < rows["first_ns"]).all()
    assert (rows["first_ns"] < rows["done_ns"]).all()


def test_streams_that_nobody_could_read_end_the_run(server: Stub) -> None:
    streams = Request(rpc="embed-stream", model="held")
    scenario = Open(rate=2000, duration_s=5, warmup_s=0, deadline_s=1, requests=(streams,))

    ran = run(order(scenario, server.address))

    assert ran.done.stopped == (
        "256 calls of one process were in flight, as many streams as it can read; use more workers"
    )


def test_tensors_are_sent_and_the_server_s_account_is_read(server: Stub) -> None:
    scenario = Closed(
        in_flight=2, duration_s=0.2, warmup_s=0, requests=(Request(rpc="infer", texts_per_call=3),)
    )

    rows = run(order(scenario, server.address)).rows

    assert set(rows["code"].tolist()) == {0}
    assert set(rows["texts"].tolist()) == {3}
    assert set(rows["queue_ns"].tolist()) == {1_000_000}
