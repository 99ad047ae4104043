"""What is shown of a run while it goes on."""

import numpy as np
import pytest

from loadtest.fabric.glimpse import Glimpse, Live
from loadtest.fabric.progress import line
from loadtest.fabric.words import Batch
from loadtest.record.row import ROW, Rows
from loadtest.scenario.schema import AnyScenario, Closed, Offline, Open, Phase

S = 1_000_000_000
NO_PROBES = np.zeros((0, 2), np.int64)


def rows(scheduled_s: list[float], took_s: float, code: int = 0) -> Rows:
    found = np.zeros(len(scheduled_s), ROW)
    found["scheduled_ns"] = np.array(scheduled_s) * S
    found["sent_ns"] = found["scheduled_ns"] + 1_000_000
    found["done_ns"] = found["scheduled_ns"] + round(took_s * S)
    found["code"] = code
    return found


def live(scenario: AnyScenario) -> Live:
    return Live(scenario, "name", 1, 0.0)


def constant(**more: float) -> Open:
    return Open(rate=10.0, arrivals="constant", warmup_s=0.0, duration_s=20.0, **more)  # type: ignore[arg-type]


def test_open_loop_counts_what_was_due_and_not_answered() -> None:
    seen = live(constant())
    seen.add(Batch(rows([place / 10 for place in range(60)], 0.005), NO_PROBES))

    glimpse = seen.glimpse(8 * S)

    # Due by 8 s are 80, answered 60; in the last five seconds 50 and 30.
    assert (glimpse.calls, glimpse.in_flight) == (60, 20)
    assert glimpse.offered_per_s == 10
    assert glimpse.answered_per_s == 6
    assert glimpse.p50_ms == pytest.approx(5)
    assert glimpse.lag_ms == pytest.approx(1)
    assert (glimpse.stage, glimpse.elapsed_s, glimpse.total_s) == ("measuring", 8, 20)


def test_old_calls_leave_the_window_and_not_the_counts() -> None:
    seen = live(constant())
    seen.add(Batch(rows([0.1, 0.2], 0.1, code=13), NO_PROBES))
    seen.add(Batch(rows([9.0], 0.1), NO_PROBES))

    glimpse = seen.glimpse(10 * S)

    assert (glimpse.calls, glimpse.errors) == (3, 2)
    assert glimpse.answered_per_s == pytest.approx(1 / 5)
    assert glimpse.p99_ms == pytest.approx(100)


def test_nothing_has_come_yet() -> None:
    glimpse = live(constant()).glimpse(0)

    assert (glimpse.calls, glimpse.p50_ms, glimpse.lag_ms) == (0, None, None)


def test_closed_loop_has_no_offered_rate_and_lag_of_timers() -> None:
    seen = live(Closed(in_flight=7, warmup_s=0.0))
    probes = np.array([[S // 2, 3_000_000]])
    seen.add(Batch(rows([0.5], 0.1), probes))

    glimpse = seen.glimpse(S)

    assert glimpse.offered_per_s is None
    assert glimpse.in_flight == 7
    assert glimpse.lag_ms == pytest.approx(3)


def test_offline_run_counts_down() -> None:
    seen = live(Offline(calls=10, warmup_s=0.0))
    seen.add(Batch(rows([0.0, 0.0, 0.0], 0.5), NO_PROBES))

    glimpse = seen.glimpse(S)

    assert (glimpse.in_flight, glimpse.total_s) == (7, None)


def test_stage_follows_the_scenario() -> None:
    phases = (Phase(name="low", for_s=10.0, rate=1.0), Phase(for_s=10.0, rate=2.0))
    seen = live(Open(phases=phases, warmup_s=5.0))

    stages = [seen.glimpse(second * S).stage for second in (0, 4, 5, 14, 15, 24, 25)]

    assert stages == ["warm-up", "warm-up", "low", "low", "phase 2/2", "phase 2/2", "draining"]
    assert seen.glimpse(6 * S, "stopping").stage == "stopping"


def test_line_says_only_what_is_known() -> None:
    assert line(Glimpse(name="server", stage="preparing", workers=1)) == "server: preparing"
    shown = line(
        Glimpse(
            name="server",
            stage="measuring",
            workers=3,
            elapsed_s=12.4,
            total_s=35.0,
            answered_per_s=201.23,
            p50_ms=3.456,
            in_flight=4,
        )
    )
    assert shown == (
        "server: measuring, 12/35 s, answered/s 201, p50 ms 3.46, in flight 4, errors 0, workers 3"
    )
