import pytest

from loadtest.search.knee import Spot, knee, saturation

# A server of eight in parallel that takes 10 ms a call.
SERVER = [Spot(n, min(n, 8) * 100, max(n, 8) / 8 * 10_000) for n in (1, 2, 4, 8, 16, 32)]


def test_the_knee_is_where_throughput_ends_and_queueing_begins() -> None:
    assert knee(SERVER) == 8


def test_the_knee_needs_no_order_and_no_scale() -> None:
    scaled = [Spot(one.level, one.throughput * 7, (one.latency_us or 0) * 3) for one in SERVER]

    assert knee(SERVER[::-1]) == knee(scaled) == 8


def test_of_equal_power_the_lower_level_is_the_knee() -> None:
    """Twice the throughput at twice the latency buys nothing."""
    assert knee([Spot(2, 200, 2000), Spot(1, 100, 1000)]) == 1


def test_an_open_queue_has_its_knee_at_half_load() -> None:
    """Kleinrock's result for M/M/1: power is greatest at a utilisation of one half."""
    spots = [Spot(load, load, 1 / (1 - load / 100)) for load in range(5, 100, 5)]

    assert knee(spots) == 50


def test_without_latencies_there_is_no_knee() -> None:
    assert knee([]) is None
    assert knee([Spot(1, 0, None)]) is None


def test_saturation_is_where_throughput_no_longer_grows() -> None:
    assert saturation(SERVER) == 8
    assert saturation(SERVER[::-1]) == 8


def test_growth_within_the_noise_is_none() -> None:
    assert saturation([Spot(1, 97, 1.0), Spot(2, 99, 1.0), Spot(4, 101, 1.0)]) == 1


@pytest.mark.parametrize("spots", [[], SERVER[:4], SERVER[:1]])
def test_a_curve_that_still_grows_is_not_saturated(spots: list[Spot]) -> None:
    assert saturation(spots) is None
