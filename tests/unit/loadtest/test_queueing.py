"""The theory that the physics exam holds measurements against is right itself."""

import numpy as np
import pytest
from queueing import (
    dispersion,
    exponential_distance,
    kolmogorov_p,
    md1_mean_wait,
    md1_standard_error,
    stalled_quantile_s,
    waits_ns,
)

SERVICE_NS = 5_000_000


def test_waits_follow_the_recursion_customer_by_customer() -> None:
    arrivals = np.array([0, 3, 4, 30, 31, 50])
    expected, free = [], 0
    for arrival in arrivals.tolist():
        expected.append(max(0, free - arrival))
        free = max(arrival, free) + 10

    assert waits_ns(arrivals, 10).tolist() == expected == [0, 7, 16, 0, 9, 0]


@pytest.mark.parametrize("load", [0.5, 0.7, 0.8])
def test_long_queues_wait_as_the_formula_says(load: float) -> None:
    rate = load / (SERVICE_NS / 1e9)
    gaps = np.random.default_rng(1).exponential(1e9 / rate, 1_000_000)
    arrivals = np.cumsum(gaps).astype(np.int64)

    mean_s = waits_ns(arrivals, SERVICE_NS).mean() / 1e9

    assert mean_s == pytest.approx(md1_mean_wait(load, SERVICE_NS / 1e9), rel=0.02)


def test_the_standard_error_falls_with_the_root_of_the_time() -> None:
    short, long = (md1_standard_error(0.5, 0.005, seconds) for seconds in (20.0, 80.0))

    assert short / long == pytest.approx(2, rel=0.25)


@pytest.mark.parametrize("quantile", [0.5, 0.7, 0.85, 0.9, 0.99])
def test_a_stall_has_the_quantiles_of_its_mixture(quantile: float) -> None:
    arrivals = np.linspace(-4, 6, 100_000)
    stall, service = 2.0, 0.02
    latency = np.full(len(arrivals), service)
    before, during = (arrivals >= -service) & (arrivals < 0), (arrivals >= 0) & (arrivals < stall)
    latency[before] = stall - arrivals[before]
    latency[during] = stall - arrivals[during] + service

    assert stalled_quantile_s(quantile, 10, stall, service) == pytest.approx(
        np.quantile(latency, quantile), abs=1e-3
    )


def test_quantiles_beyond_the_stall_are_not_claimed() -> None:
    with pytest.raises(ValueError, match="in service at the stop"):
        stalled_quantile_s(0.999, 10, 2, 0.02)


def test_exponential_gaps_pass_and_others_do_not() -> None:
    rng = np.random.default_rng(3)
    count = 3000

    def p(gaps: np.ndarray) -> float:
        return kolmogorov_p(exponential_distance(gaps, 1.0), count)

    assert p(rng.exponential(1.0, count)) > 0.05
    # Even gaps, gamma gaps as one worker of two has, and the right shape at the wrong rate.
    assert p(np.ones(count)) < 1e-9
    assert p(rng.gamma(2, 0.5, count)) < 1e-9
    assert p(rng.exponential(1.15, count)) < 0.01


@pytest.mark.parametrize(("scaled", "p"), [(1.2238, 0.10), (1.3581, 0.05), (1.6276, 0.01)])
def test_chances_are_those_of_the_tables(scaled: float, p: float) -> None:
    count = 10**8

    assert kolmogorov_p(scaled / count**0.5, count) == pytest.approx(p, rel=0.01)


def test_p_values_of_true_exponentials_are_even() -> None:
    rng = np.random.default_rng(4)
    found = [
        kolmogorov_p(exponential_distance(rng.exponential(2.0, 200), 2.0), 200) for _ in range(500)
    ]

    assert np.mean(np.array(found) < 0.1) == pytest.approx(0.1, abs=0.05)


def test_dispersion_tells_poisson_from_even_and_from_bursts() -> None:
    rng = np.random.default_rng(5)
    end = 1_000_000_000
    poisson = rng.integers(0, end, 10_000)
    even = np.arange(0, end, end // 10_000)
    bursts = np.repeat(rng.integers(0, end, 2_000), 5)

    assert dispersion(poisson, 0, end, 2000) == pytest.approx(1, abs=0.1)
    assert dispersion(even, 0, end, 2000) < 0.1
    assert dispersion(bursts, 0, end, 2000) > 3
