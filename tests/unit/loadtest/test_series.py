import numpy as np
from load_rows import MS, S, calls, many, row

from loadtest.analysis.series import series
from loadtest.scenario.schema import Closed, Open


def test_each_call_falls_into_the_slices_it_was_due_and_ended_in() -> None:
    rows = calls(row(50, 100, late_ms=2), row(150, 100, code=14))

    cut = series(rows, Open(rate=1), 3 * S // 10)

    assert cut.width_s == 0.1
    assert cut.start_s == [0.0, 0.1, 0.2]
    assert cut.offered_per_s == [10, 10, 0]
    assert cut.completed_per_s == [0, 10, 10]
    assert cut.errors_per_s == [0, 0, 10]
    # A failed call has no latency, but it was sent.
    assert cut.p50_us == cut.max_us == [100_000, None, None]
    assert cut.lag_max_us == [2000, 0, None]
    assert cut.in_flight == [0.5, 1, 0.5]


def test_timers_tell_where_no_arrival_is_fixed() -> None:
    cut = series(
        calls(row(50, 1), probes=[(0, MS), (S // 10, 3 * MS)]), Closed(in_flight=1), S // 5
    )

    assert cut.lag_p50_us == [1000, 3000]


def test_a_long_run_has_about_sixty_slices() -> None:
    cut = series(calls(), Open(rate=1), 35 * S)

    assert (cut.width_s, len(cut.start_s)) == (1.0, 35)


def test_the_last_slice_is_as_long_as_the_run() -> None:
    scheduled = np.arange(0, 3475, 5, dtype=np.int64) * (S // 100)

    cut = series(many(scheduled, np.full(len(scheduled), MS)), Open(rate=20), 3475 * S // 100)

    # 34 whole seconds and three quarters of one: the rate is the same in all of them.
    assert len(cut.start_s) == 35
    assert set(cut.offered_per_s) == {20}


def test_a_stretch_too_short_for_a_slice_is_left_out() -> None:
    cut = series(calls(), Open(rate=1), 3001 * S // 1000 * 10)

    assert (cut.width_s, len(cut.start_s)) == (1.0, 30)


def test_a_run_of_no_time_still_has_a_slice() -> None:
    assert len(series(calls(), Open(rate=1), 0).start_s) == 1
