import numpy as np
import pytest

from loadtest.arrivals.process import Piece, constant, poisson
from loadtest.arrivals.schedule import Schedule, schedule
from loadtest.arrivals.split import part
from loadtest.record.row import WARMUP
from loadtest.scenario.schema import Arrival, BadScenario, Open, Phase, Replay

RATE, SPAN_S = 200.0, 100.0
S = 1_000_000_000
EVEN = [Piece(SPAN_S, RATE, RATE)]


def test_poisson_has_the_rate_asked_for() -> None:
    instants = poisson(EVEN, seed=7)

    # Five standard deviations of a Poisson count.
    assert abs(len(instants) - RATE * SPAN_S) < 5 * np.sqrt(RATE * SPAN_S)


def test_poisson_counts_vary_as_much_as_their_mean() -> None:
    counts, _ = np.histogram(poisson(EVEN, seed=7), np.arange(0, SPAN_S + 0.1, 0.1))

    assert 0.85 < counts.var() / counts.mean() < 1.15


def test_the_same_seed_gives_the_same_schedule_for_ever() -> None:
    # Workers of other numpy versions must draw the same. Literal: a change here is a change of
    # every published run.
    instants = schedule(Open(rate=1000, duration_s=1, warmup_s=0, seed=3)).instants_ns

    assert instants[:4].tolist() == [105734, 1106804, 1859454, 4310406]


def test_another_seed_is_another_schedule() -> None:
    first, second = (poisson(EVEN, seed=seed) for seed in (3, 4))

    assert not np.array_equal(first[:10], second[:10])


def test_a_longer_schedule_begins_like_a_shorter_one() -> None:
    short = poisson([Piece(1, RATE, RATE)], seed=3)
    # Longer than what is drawn at once.
    long = poisson([Piece(1000, RATE, RATE)], seed=3)

    assert np.array_equal(long[: len(short)], short)


def test_twice_the_rate_is_the_same_process_in_half_the_time() -> None:
    slow, fast = poisson([Piece(2, 100, 100)], seed=3), poisson([Piece(1, 200, 200)], seed=3)

    np.testing.assert_allclose(slow, 2 * fast, rtol=1e-12)


def test_constant_is_evenly_spaced() -> None:
    assert constant([Piece(1, 4, 4)]).tolist() == [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize(("rate", "span_s", "count"), [(0.1, 10, 1), (0.1, 11, 2), (3, 1, 3)])
def test_constant_ends_before_the_span_does(rate: float, span_s: float, count: int) -> None:
    assert len(constant([Piece(span_s, rate, rate)])) == count


def test_a_ramp_has_its_arrivals_where_the_cumulative_rate_is_whole() -> None:
    # From 0+ to 2 per second in 3 s: x**2 / 3 calls by then.
    instants = constant([Piece(3, 1e-12, 2)])

    np.testing.assert_allclose(instants, np.sqrt(3 * np.arange(3)), atol=1e-6)


def test_warmup_is_one_process_with_what_follows() -> None:
    made = schedule(Open(rate=4, duration_s=1, warmup_s=0.6, arrivals="constant"))

    assert made.instants_ns.tolist() == [number * S // 4 for number in range(7)]
    assert made.phases.tolist() == [WARMUP] * 3 + [0] * 4
    assert (made.measured_from_ns, made.span_ns) == (6 * S // 10, 16 * S // 10)


def test_calls_know_their_stretch() -> None:
    scenario = Open(
        warmup_s=1,
        arrivals="constant",
        phases=(Phase(for_s=1, rate=2), Phase(for_s=1, rate=6, to_rate=2)),
    )

    made = schedule(scenario)

    assert made.phases.tolist() == [WARMUP] * 2 + [0] * 2 + [1] * 4
    assert made.instants_ns[4] == 2 * S


def recording(*at_s: float) -> tuple[Arrival, ...]:
    return tuple(Arrival(at, (5 + number,)) for number, at in enumerate(at_s))


def test_a_replay_keeps_the_recorded_gaps_at_its_speed() -> None:
    made = schedule(Replay(recorded=recording(0, 1, 1, 3), speed=2, warmup_s=0))

    assert made.instants_ns.tolist() == [0, S // 2, S // 2, 3 * S // 2]
    assert made.payloads(4).tolist() == [0, 1, 2, 3]
    assert made.instants_ns[-1] < made.span_ns == 3 * S // 2 + 1


def test_a_replay_warms_up_at_its_mean_rate_with_its_first_lengths() -> None:
    recorded = recording(*np.arange(0, 10.5, 0.5).tolist())
    made = schedule(Replay(recorded=recorded, warmup_s=20, speed=5))

    warmup = int((made.phases == WARMUP).sum())
    # 20 s at 10 calls/s.
    assert abs(warmup - 200) < 5 * np.sqrt(200)
    assert made.payloads(21)[:22].tolist() == [*range(21), 0]
    assert made.payloads(21)[warmup:].tolist() == list(range(21))
    assert made.instants_ns[warmup] == made.measured_from_ns == 20 * S


@pytest.mark.parametrize("recorded", [(), recording(0), recording(0, 0)])
def test_a_replay_of_no_time_is_refused(recorded: tuple[Arrival, ...]) -> None:
    with pytest.raises(BadScenario, match="at least two calls at different times"):
        schedule(Replay(recorded=recorded))


@pytest.mark.parametrize(
    ("scenario", "said"),
    [
        (Open(rate=1e9), "20,000,000 is the most"),
        (Open(rate=1, duration_s=1e300), "a week"),
        (Open(rate=1, duration_s=float("nan")), "a week"),
        (Replay(recorded=recording(0, 1), speed=float("inf")), "calls"),
    ],
)
def test_more_than_a_run_can_hold_is_refused(scenario: Open | Replay, said: str) -> None:
    with pytest.raises(BadScenario, match=said):
        schedule(scenario)


def test_payloads_follow_the_place_in_the_schedule() -> None:
    made = schedule(Open(rate=4, duration_s=1, warmup_s=1, arrivals="constant"))

    assert made.payloads(3).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_a_tiny_rate_may_have_no_call_at_all() -> None:
    made = schedule(Open(rate=1e-9, duration_s=1, warmup_s=0))

    assert isinstance(made, Schedule)
    assert len(made) == 0


def test_calls_are_dealt_out_in_turn() -> None:
    assert [part(7, worker, 3).tolist() for worker in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]


@pytest.mark.parametrize(("worker", "workers"), [(3, 3), (-1, 3), (0, 0)])
def test_a_worker_that_does_not_exist_has_no_part(worker: int, workers: int) -> None:
    with pytest.raises(ValueError, match="worker"):
        part(10, worker, workers)
