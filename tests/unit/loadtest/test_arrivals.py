import numpy as np

from loadtest import arrivals

RATE, SPAN_S = 200.0, 100.0


def test_poisson_has_the_rate_asked_for() -> None:
    instants = arrivals.poisson(RATE, SPAN_S, seed=7)

    # Five standard deviations of a Poisson count.
    assert abs(len(instants) - RATE * SPAN_S) < 5 * np.sqrt(RATE * SPAN_S)


def test_poisson_gaps_are_exponential() -> None:
    gaps_s = np.diff(arrivals.poisson(RATE, SPAN_S, seed=7)) / 1e9

    # Kolmogorov-Smirnov distance; 1.63 / sqrt(n) is its 1 % critical value.
    ordered = np.sort(gaps_s)
    expected = 1 - np.exp(-RATE * ordered)
    seen = np.arange(1, len(ordered) + 1) / len(ordered)
    assert np.abs(seen - expected).max() < 1.63 / np.sqrt(len(ordered))


def test_poisson_counts_vary_as_much_as_their_mean() -> None:
    instants = arrivals.poisson(RATE, SPAN_S, seed=7)

    counts, _ = np.histogram(instants, np.arange(0, SPAN_S + 0.1, 0.1) * 1e9)
    assert 0.85 < counts.var() / counts.mean() < 1.15


def test_same_seed_same_schedule() -> None:
    first = arrivals.poisson(RATE, 5, seed=3)

    assert np.array_equal(first, arrivals.poisson(RATE, 5, seed=3))
    assert not np.array_equal(first[:10], arrivals.poisson(RATE, 5, seed=4)[:10])


def test_a_longer_schedule_begins_like_a_shorter_one() -> None:
    short, long = arrivals.poisson(RATE, 1, seed=3), arrivals.poisson(RATE, 2, seed=3)

    assert np.array_equal(long[: len(short)], short)


def test_instants_are_sorted_and_inside_the_span() -> None:
    instants = arrivals.poisson(RATE, SPAN_S, seed=1)

    assert (np.diff(instants) >= 0).all()
    assert 0 <= instants[0] <= instants[-1] < SPAN_S * 1e9


def test_constant_is_evenly_spaced() -> None:
    assert arrivals.constant(4, 1).tolist() == [0, 250_000_000, 500_000_000, 750_000_000]
