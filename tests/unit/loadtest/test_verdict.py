from dataclasses import dataclass

import msgspec
import numpy as np
import pytest
from load_rows import MS, S, calls, many, row

from loadtest.analysis.evidence import Circumstances, Evidence, WorkerLoad, evidence, workers
from loadtest.analysis.verdict import judge
from loadtest.analysis.window import Window
from loadtest.record.row import WARMUP
from loadtest.scenario.schema import AnyScenario, Arrival, Closed, Offline, Open, Phase, Replay

GOOD = Evidence(
    kind="open",
    is_steady_rate=True,
    ordered_s=10,
    measured_s=10,
    percentile=99,
    samples=1000,
    errors=0,
    max_error_rate=0,
    mean_us=6_000,
    p50_us=5_000,
    p99_us=10_000,
    lag_p50_us=60,
    lag_p99_us=400,
    offered=1000,
    completed=999,
    in_flight_quarters=(4, 5, 4, 5),
    restarts=0,
)


def rules(**changes: object) -> list[str]:
    return [reason.rule for reason in judge(msgspec.structs.replace(GOOD, **changes)).reasons]


def test_a_good_run_is_valid() -> None:
    verdict = judge(GOOD)

    assert verdict.word == "VALID"
    assert not verdict.reasons
    assert not verdict.warnings
    assert verdict.checked == (
        "undisturbed", "duration", "samples", "errors", "lag", "keeps-up", "steady", "restarts"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"samples": 458}, ["samples"]),
        ({"samples": 459}, []),
        ({"percentile": 99.9}, ["samples"]),
        ({"errors": 1}, ["errors"]),
        ({"errors": 1, "max_error_rate": 0.01}, []),
        # Half a millisecond is always allowed, then 5 % of the p99.
        ({"p99_us": 1_000, "lag_p99_us": 500}, []),
        ({"p99_us": 1_000, "lag_p99_us": 501}, ["lag"]),
        ({"p99_us": 100_000, "lag_p99_us": 5_000}, []),
        ({"p99_us": 100_000, "lag_p99_us": 5_001}, ["lag"]),
        ({"completed": 980}, ["keeps-up"]),
        # Ten calls of a full pipeline, cut off at the edges of the window.
        ({"offered": 600, "completed": 591, "in_flight_quarters": (10, 9, 10, 11)}, []),
        ({"in_flight_quarters": (1, 9, 17, 25)}, ["steady"]),
        # A rate that rises may fill the server more and more.
        ({"in_flight_quarters": (1, 9, 17, 25), "is_steady_rate": False}, []),
        # A stall in the middle that drained.
        ({"in_flight_quarters": (1, 90, 17, 1)}, []),
        # From nearly nothing to little more: chance.
        ({"in_flight_quarters": (0.1, 0.4, 0.9, 1.2)}, []),
        ({"disturbances": ("interrupted", "a worker was lost")}, ["undisturbed", "undisturbed"]),
        ({"measured_s": 9.98}, ["duration"]),
        ({"measured_s": 9.995}, []),
        ({"ordered_s": 1.9, "measured_s": 1.9}, ["duration"]),
        ({"ordered_s": 2, "measured_s": 2}, []),
        # Ten seconds hold twenty answers of half a second, no longer ones.
        ({"mean_us": 500_000}, []),
        ({"mean_us": 501_000}, ["duration"]),
        ({"restarts": 2}, ["restarts"]),
        ({"restarts": None}, []),
        ({"samples": 3, "errors": 2, "lag_p99_us": 9000}, ["samples", "errors", "lag"]),
        ({"samples": 0, "completed": 0, "offered": 0}, ["samples"]),
    ],
)
def test_each_rule_speaks_for_itself(changes: dict[str, object], expected: list[str]) -> None:
    assert rules(**changes) == expected


def test_a_closed_loop_is_not_judged_by_its_arrivals() -> None:
    closed = {"kind": "closed", "is_steady_rate": False}

    assert rules(**closed, completed=10, in_flight_quarters=(1, 9, 17, 25)) == []
    # Its timers are: a generator that sleeps too long sends too little.
    assert rules(**closed, lag_p99_us=9000) == ["lag"]


def test_a_replay_keeps_up_or_not() -> None:
    (reason,) = judge(
        msgspec.structs.replace(GOOD, kind="replay", is_steady_rate=False, completed=900)
    ).reasons

    assert reason.rule == "keeps-up"
    assert "lower speed" in reason.advice


def test_offline_ends_when_the_server_is_done() -> None:
    offline = {"kind": "offline", "is_steady_rate": False, "ordered_s": None}

    # All calls wait half the run on average, and that is as it should be.
    assert rules(**offline, mean_us=5e6) == []
    (reason,) = judge(msgspec.structs.replace(GOOD, **offline, measured_s=1.0)).reasons
    assert (reason.rule, reason.advice) == ("duration", "order more calls (--calls)")


def test_what_nobody_looked_at_is_not_among_the_checked() -> None:
    assert "restarts" not in judge(msgspec.structs.replace(GOOD, restarts=None)).checked


def test_reasons_say_what_they_saw_and_what_helps() -> None:
    (reason,) = judge(msgspec.structs.replace(GOOD, samples=100)).reasons

    assert reason.text == "p99 needs 459 answered calls, there were 100"
    assert "--duration" in reason.advice


LOAD = WorkerLoad(
    worker=1,
    host="a",
    calls=1,
    calls_per_s=3100,
    cores=0.71,
    lag_p99_us=12_000,
    is_realtime=True,
    clock_error_us=0,
)


def warned(load: WorkerLoad = LOAD, **changes: object) -> tuple[str, ...]:
    return judge(msgspec.structs.replace(GOOD, workers=(load,), **changes)).warnings


def changed(**changes: object) -> WorkerLoad:
    return msgspec.structs.replace(LOAD, **changes)


def test_a_worker_at_its_limit_is_told_by_its_own_lag_and_cpu() -> None:
    assert warned() == (
        "worker 1 was 12 ms late at p99 at 3,100 calls/s with 71% of a core: use 2 workers",
    )


def test_a_worker_that_is_kept_from_its_core_needs_no_others() -> None:
    (text,) = warned(changed(cores=0.2))

    assert text.endswith(
        ": something else kept it from its core; give the generator one of its own"
    )


@pytest.mark.parametrize(
    ("load", "count"),
    [
        # The bound is 500 us; half of it is near when the core is busy.
        (changed(lag_p99_us=240), 0),
        (changed(lag_p99_us=260), 1),
        (changed(lag_p99_us=260, cores=0.3), 0),
        (changed(lag_p99_us=510, cores=0.3), 1),
    ],
)
def test_a_worker_near_its_limit_is_warned_of(load: WorkerLoad, count: int) -> None:
    assert len(warned(load)) == count


@pytest.mark.parametrize(
    ("changes", "is_advised"),
    [
        ({"workers": (changed(is_realtime=False),)}, True),
        ({"workers": (LOAD, changed(is_realtime=False))}, True),
        ({"workers": (LOAD,)}, False),
        # It has no instants to keep.
        ({"workers": (changed(is_realtime=False),), "kind": "closed"}, False),
    ],
)
def test_a_late_generator_is_advised_of_the_priority_it_lacks(
    changes: dict[str, object],
    is_advised: bool,  # noqa: FBT001
) -> None:
    late = msgspec.structs.replace(GOOD, lag_p99_us=9000, **changes)

    (advice,) = [one.advice for one in judge(late).reasons if one.rule == "lag"]

    assert ("real-time priority" in advice) == is_advised


def test_all_workers_share_the_load_in_the_advice() -> None:
    busy = (changed(worker=0, cores=0.9), changed(worker=1, cores=0.9))

    texts = judge(msgspec.structs.replace(GOOD, workers=busy)).warnings

    assert [text[-13:] for text in texts] == ["use 4 workers", "use 4 workers"]


def test_a_closed_loop_with_a_full_core_may_be_what_is_measured() -> None:
    full = changed(cores=0.95, lag_p99_us=0)

    (text,) = warned(full, kind="closed", is_steady_rate=False, lag_p99_us=100)

    assert text == (
        "worker 1 had timers 0.1 ms late at p99 at 3,100 calls/s with 95% of a core: use 2 workers"
    )
    assert warned(changed(cores=0.8, lag_p99_us=0), kind="closed", lag_p99_us=100) == ()


def test_a_clock_that_is_off_by_more_than_a_gap_is_told() -> None:
    # 1000 calls in 10 s: one every 10 ms.
    idle = {"lag_p99_us": 0.0, "cores": 0.1}

    (text,) = warned(changed(**idle, clock_error_us=11_000))

    assert text.startswith("worker 1 on a may be 11 ms off the others' schedule")
    assert warned(changed(**idle, clock_error_us=9_000)) == ()
    assert warned(changed(**idle, clock_error_us=11_000), kind="closed") == ()


def test_lag_that_shows_in_a_latency_is_told() -> None:
    (text,) = judge(msgspec.structs.replace(GOOD, p50_us=500, lag_p50_us=100)).warnings

    assert text.startswith("the generator's own lateness at p50, 0.1 ms, is 20%")


def test_evidence_is_of_what_was_due_in_the_measured_time() -> None:
    rows = calls(
        row(500, 600, phase=WARMUP),
        row(1200, 100, late_ms=3),
        row(1500, 100, code=14),
        row(2900, 300),
    )
    circumstances = Circumstances(disturbances=("interrupted",), restarts=1)

    found = evidence(rows, Open(rate=2, duration_s=2, warmup_s=1), Window(S, 3 * S), circumstances)

    assert (found.kind, found.is_steady_rate, found.ordered_s, found.measured_s) == (
        "open", True, 2, 2
    )  # fmt: skip
    assert (found.samples, found.errors, found.offered, found.completed) == (2, 1, 3, 3)
    assert found.mean_us == 200_000
    assert found.lag_p99_us == pytest.approx(2940)
    assert (found.disturbances, found.restarts) == (("interrupted",), 1)


@pytest.mark.parametrize(
    ("scenario", "kind", "is_steady"),
    [
        (Closed(in_flight=1), "closed", False),
        (Offline(calls=1), "offline", False),
        (Replay(recorded=(Arrival(0, (3,)), Arrival(9, (3,)))), "replay", False),
        (Open(phases=(Phase(for_s=1, rate=2), Phase(for_s=1, rate=2))), "open", True),
        (Open(phases=(Phase(for_s=1, rate=2), Phase(for_s=1, rate=3))), "open", False),
        (Open(phases=(Phase(for_s=1, rate=2, to_rate=3),)), "open", False),
    ],
)
def test_only_an_even_rate_must_settle(scenario: AnyScenario, kind: str, is_steady: bool) -> None:  # noqa: FBT001
    found = evidence(calls(), scenario, Window(0, S), Circumstances())

    assert (found.kind, found.is_steady_rate) == (kind, is_steady)


@dataclass(frozen=True)
class Process:
    worker: int
    host: str = "here"
    cpu_s: float = 1.0
    is_realtime: bool = False
    clock_error_s: float = 0.0


def test_each_worker_answers_for_its_own_calls() -> None:
    number = np.arange(1000)
    late = np.where(number % 2 == 1, 7 * MS, MS)
    rows = many(number * MS, np.full(1000, 9 * MS), sent_ns=number * MS + late, worker=number % 2)

    first, second = workers(rows, [Process(0), Process(1, cpu_s=3, clock_error_s=0.002)], 4 * S)

    assert (first.lag_p99_us, second.lag_p99_us) == (1000, 7000)
    assert (second.calls, second.calls_per_s, second.cores) == (500, 125, 0.75)
    assert second.clock_error_us == 2000
