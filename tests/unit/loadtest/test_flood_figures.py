import pytest

from loadtest.benchmarks.figures import Ended, Figures, Window, figures, percentiles

WINDOW = Window(warmup_s=1.0, seconds=2.0, deadline_s=0.5, by_due=False)
SCHEDULE = Window(warmup_s=1.0, seconds=2.0, deadline_s=0.5, by_due=True)
CALLS = [
    Ended(0.5, 0.9, "OK"),  # ended before the window
    Ended(0.8, 1.2, "OK"),  # began before it
    Ended(1.5, 1.6, "OK"),
    Ended(1.5, 2.2, "OK"),  # late
    Ended(2.0, 2.01, "RESOURCE_EXHAUSTED"),
    Ended(2.5, 3.0, "DEADLINE_EXCEEDED"),  # ended after it
]


def shown(window: Window) -> Figures:
    return figures(window, CALLS, [], (0.0, 0.0))


def test_calls_in_flight_count_by_their_end() -> None:
    assert shown(WINDOW).codes == {"OK": 3, "RESOURCE_EXHAUSTED": 1}


def test_scheduled_calls_count_by_the_instant_they_were_due() -> None:
    assert shown(SCHEDULE).codes == {"OK": 2, "RESOURCE_EXHAUSTED": 1, "DEADLINE_EXCEEDED": 1}


def test_goodput_leaves_late_answers_out() -> None:
    found = shown(SCHEDULE)

    assert (found.answered_per_s, found.in_time_per_s) == (1.0, 0.5)


def test_refusals_have_latencies_of_their_own() -> None:
    found = shown(WINDOW)

    assert found.refused_ms.max == pytest.approx(10)
    assert found.answered_ms.max == pytest.approx(700)


def test_cpu_time_is_per_call() -> None:
    found = figures(WINDOW, CALLS, [], (0.004, 0.006))

    assert found.client_cpu_ms == pytest.approx(1.0)  # of four that ended
    assert found.server_cpu_ms == pytest.approx(2.0)  # of three that were answered


def test_lateness_of_the_warm_up_is_left_out() -> None:
    found = figures(SCHEDULE, CALLS, [(0.5, 9.0), (1.5, 0.001)], (0.0, 0.0))

    assert found.lag_ms.max == pytest.approx(1.0)


def test_no_calls_have_no_latency() -> None:
    assert percentiles([]) == percentiles([0.0])
