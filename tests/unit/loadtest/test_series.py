from loadtest.record import Call, Recording
from loadtest.series import series

S = 1_000_000_000


def test_each_call_falls_into_the_slices_it_was_due_and_ended_in() -> None:
    recording = Recording()
    recording.append(Call(S // 20, S // 20, 3 * S // 20, 0, 0, 1, 5))
    recording.append(Call(3 * S // 20, 3 * S // 20, 5 * S // 20, 14, 0, 1, 0))
    calls = recording.calls()

    cut = series(calls, calls.scheduled_ns, calls.lag_ns, 3 * S // 10)

    assert cut.width_s == 0.1
    assert cut.start_s == [0.0, 0.1, 0.2]
    assert cut.offered_per_s == [10, 10, 0]
    assert cut.completed_per_s == [0, 10, 10]
    assert cut.errors_per_s == [0, 0, 10]
    # A failed call has no latency.
    assert cut.p50_us == [100_000, None, None]


def test_a_long_run_has_about_sixty_slices() -> None:
    calls = Recording().calls()

    cut = series(calls, calls.scheduled_ns, calls.lag_ns, 35 * S)

    assert (cut.width_s, len(cut.start_s)) == (1.0, 35)
