import math

import numpy as np
import pytest

from loadtest.compare.blocks import block_length, draw_places
from loadtest.compare.bootstrap import Luck, Pair, Side, Statistic, interval, requests_drawn
from loadtest.compare.student import quantile, widening, within

# Its mean is the first statistic.
STATISTIC, MEDIAN = Statistic((0.5,)), 1


# From the tables of Abramowitz and Stegun, 26.10.
@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 63.657), (2, 9.925), (3, 5.841), (6, 3.707), (7, 3.499), (30, 2.750)],
)
def test_students_t_agrees_with_the_tables(freedom: int, expected: float) -> None:
    assert quantile(0.99, freedom) == pytest.approx(expected, abs=5e-4)
    assert within(quantile(0.99, freedom), freedom) == pytest.approx(0.99)


def test_widening_vanishes_with_many_pairs() -> None:
    assert widening(0.99, 6) == pytest.approx(1.439, abs=1e-3)
    assert widening(0.99, 2000) == pytest.approx(1, abs=2e-3)


def test_no_freedom_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 degrees"):
        quantile(0.99, 0)


def autoregressive(count: int, rho: float, seed: int = 1) -> np.ndarray:
    draw = np.random.default_rng(seed)
    values = np.empty(count)
    values[0] = draw.normal()
    for place in range(1, count):
        values[place] = rho * values[place - 1] + draw.normal() * math.sqrt(1 - rho * rho)
    return values


def test_blocks_grow_with_autocorrelation() -> None:
    lengths = [block_length(autoregressive(4000, rho)) for rho in (0.0, 0.5, 0.9)]

    assert lengths[0] < 5
    assert lengths == sorted(lengths)
    # (2 rho / (1 - rho^2))^(2/3) (3 n / 2)^(1/3), the optimum for this process, is 81.
    assert 40 < lengths[-1] < 160


@pytest.mark.parametrize("series", [np.zeros(0), np.ones(500), np.arange(15.0)])
def test_what_has_no_autocorrelation_to_see_is_drawn_one_by_one(series: np.ndarray) -> None:
    assert block_length(series) == 1


def test_what_neighbours_make_up_for_is_seen_by_long_blocks() -> None:
    alternating = np.tile([1.0, 9.0], 200)

    assert block_length(alternating) == 40
    kept = [Pair(alternating, alternating, "A", is_shared=False)] * 8
    luck = requests_drawn(kept, Statistic(), block_length(alternating), seed=1)
    assert interval(luck, 0, 0.99, seed=1).high < 1.02


def test_ten_blocks_are_always_left() -> None:
    assert block_length(np.cumsum(autoregressive(300, 0.99))) <= 30


def test_resamples_are_runs_of_neighbours_that_wrap_around() -> None:
    places = draw_places(np.random.default_rng(1), 50, 10, 4)

    assert places.shape == (50, 10)
    steps = np.diff(places[:, :4], axis=1) % 10
    assert (steps == 1).all()
    assert set(places.ravel().tolist()) == set(range(10))


def pairs(ratios: list[float], *, noise: float = 0.0, count: int = 200) -> list[Pair]:
    draw = np.random.default_rng(3)
    orders: tuple[Side, Side] = ("A", "B")
    made = []
    for place, ratio in enumerate(ratios):
        a = 1000 * np.exp(noise * draw.normal(size=count))
        b = 1000 * ratio * np.exp(noise * draw.normal(size=count))
        made.append(Pair(a, b, orders[place % 2], is_shared=False))
    return made


def test_the_ratio_is_the_geometric_mean_of_the_pairs() -> None:
    luck = requests_drawn(pairs([1.1, 1.0, 1.1, 1.0]), STATISTIC, 1, seed=1)

    assert interval(luck, MEDIAN, 0.99, seed=1).ratio == pytest.approx(math.sqrt(1.1))


def test_pairs_without_spread_have_an_interval_without_width() -> None:
    luck = requests_drawn(pairs([1.1] * 4), STATISTIC, 1, seed=1)

    found = interval(luck, MEDIAN, 0.99, seed=1)
    assert found.low == pytest.approx(1.1)
    assert found.high == pytest.approx(1.1)


def test_a_steady_drift_costs_nothing() -> None:
    """Every run is 3 % slower than the one before: AB pairs see +3 %, BA pairs -3 %."""
    drifting = pairs([1.03, 1 / 1.03] * 4)

    found = interval(requests_drawn(drifting, STATISTIC, 1, seed=1), MEDIAN, 0.99, seed=1)

    assert found.low == pytest.approx(1)
    assert found.high == pytest.approx(1)


def test_spread_between_pairs_counts_as_students_t_has_it() -> None:
    """With six pairs none is set aside; one degree of freedom goes into the drift."""
    ratios = [0.97, 1.02, 1.01, 0.98, 1.03, 1.02]

    found = interval(requests_drawn(pairs(ratios), STATISTIC, 1, seed=1), MEDIAN, 0.99, seed=1)

    logs = np.log(ratios)
    drift = (np.median(logs[0::2]) - np.median(logs[1::2])) / 2
    logs -= drift * np.array([1, -1] * 3)
    half = quantile(0.99, 4) * math.sqrt(((logs - logs.mean()) ** 2).sum() / 4 / 6)
    assert math.log(found.high / found.ratio) == pytest.approx(half, rel=0.2)
    assert math.log(found.ratio / found.low) == pytest.approx(half, rel=0.2)


def test_spread_of_eight_pairs_is_yuens() -> None:
    # The medians of both orders are equal: there is no drift.
    ratios = [0.97, 0.96, 1.01, 1.02, 1.03, 1.01, 1.01, 1.01]

    found = interval(requests_drawn(pairs(ratios), STATISTIC, 1, seed=1), MEDIAN, 0.99, seed=1)

    logs = np.sort(np.log(ratios))
    assert math.log(found.ratio) == pytest.approx(logs[1:7].mean())
    spread = np.clip(logs, logs[1], logs[6]).std(ddof=1)
    half = quantile(0.99, 5) * spread * math.sqrt(7 / (6 * 5))
    assert math.log(found.high / found.low) / 2 == pytest.approx(half, rel=0.15)


def test_one_disturbed_run_changes_next_to_nothing() -> None:
    calm = [1.05, 1.06, 1.04, 1.05, 1.06, 1.04, 1.05, 1.05]
    broken = [*calm[:7], 1.9]

    before, after = (
        interval(requests_drawn(pairs(ratios), STATISTIC, 1, seed=1), MEDIAN, 0.99, seed=1)
        for ratios in (calm, broken)
    )

    assert after.ratio == pytest.approx(before.ratio, rel=0.005)
    assert after.low > 1.03


def test_luck_within_runs_counts_when_pairs_happen_to_agree() -> None:
    """The medians of both sides are equal in every pair, and each of them is uncertain."""
    rough = pairs([1.0] * 8, noise=0.5, count=101)
    agreeing = [
        Pair(
            pair.a,
            pair.a[np.random.default_rng(place).permutation(101)],
            pair.first,
            is_shared=False,
        )
        for place, pair in enumerate(rough)
    ]

    found = interval(requests_drawn(agreeing, STATISTIC, 1, seed=1), MEDIAN, 0.99, seed=1)

    assert found.ratio == pytest.approx(1)
    # sqrt(pi/2) * 0.5 / sqrt(101) of a median, twice, over eight pairs, times t.
    expected = quantile(0.99, 6) * 1.25 * 0.5 / math.sqrt(101) * math.sqrt(2 / 8)
    assert math.log(found.high) == pytest.approx(expected, rel=0.35)


def test_one_run_that_varies_in_itself_changes_next_to_nothing() -> None:
    steady = pairs([1.0] * 6, noise=0.05)
    wild = [*steady[:5], pairs([1.0], noise=3.0)[0]]
    luck, other = (requests_drawn(each, STATISTIC, 1, seed=1) for each in (steady, wild))
    calm = Luck(luck.ratios, other.within, luck.first)

    before, after = (interval(each, MEDIAN, 0.99, seed=1) for each in (luck, calm))

    assert math.log(after.high) < 1.5 * math.log(before.high)


def test_luck_that_both_sides_shared_is_drawn_together() -> None:
    """B is 2 % slower call by call, and the calls differ a lot."""
    rough = pairs([1.0] * 8, noise=0.5)
    shared = [Pair(pair.a, pair.a * 1.02, pair.first, is_shared=True) for pair in rough]
    apart = [Pair(pair.a, pair.a * 1.02, pair.first, is_shared=False) for pair in rough]

    together = interval(requests_drawn(shared, STATISTIC, 1, seed=1), MEDIAN, 0.99, seed=1)
    alone = interval(requests_drawn(apart, STATISTIC, 1, seed=1), MEDIAN, 0.99, seed=1)

    assert together.low == pytest.approx(1.02)
    assert alone.low < 1 < alone.high


def test_a_side_that_began_once_tells_nothing_of_a_drift() -> None:
    uneven = [Pair(one.a, one.b, "A", is_shared=False) for one in pairs([1.0, 1.1, 1.0, 1.1])]
    uneven[3] = Pair(uneven[3].a, uneven[3].b, "B", is_shared=False)

    found = interval(requests_drawn(uneven, STATISTIC, 1, seed=1), MEDIAN, 0.99, seed=1)

    assert found.low < 1.05 < found.high


def test_the_same_values_give_the_same_interval() -> None:
    rough = pairs([1.0, 1.05, 0.98, 1.01], noise=0.2)

    first, second = (
        interval(requests_drawn(rough, STATISTIC, 5, seed=4), MEDIAN, 0.99, seed=4) for _ in "ab"
    )

    assert first == second


def test_statistics_are_the_mean_and_what_so_many_did_not_exceed() -> None:
    values = np.arange(1.0, 101)[None]

    logs = Statistic((0.5, 0.99)).of(values)

    assert np.exp(logs[0]).tolist() == pytest.approx([50.5, 50, 99])
