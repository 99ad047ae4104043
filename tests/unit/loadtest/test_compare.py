import math

import numpy as np
import pytest

from loadtest.compare.bootstrap import Interval, Side
from loadtest.compare.decision import Limits, decide, pairs_advised
from loadtest.compare.metrics import Couple, Metric, compare, metrics
from loadtest.compare.order import turns
from loadtest.compare.phrases import advice, change, finding
from loadtest.compare.sample import Sample, align
from loadtest.errors import RunFailed
from loadtest.record.calls import Calls
from loadtest.record.row import ROW, WARMUP
from loadtest.scenario.schema import Closed, Offline, Open

LIMITS = Limits()


def test_runs_take_turns_as_abba() -> None:
    order = turns(4, seed=10)

    assert "".join(turn.side for turn in order) == "ABBAABBA"
    assert [turn.seed for turn in order] == [10, 10, 11, 11, 12, 12, 13, 13]


@pytest.mark.parametrize("pairs", [0, 2, 3, 7])
def test_pairs_that_cannot_be_balanced_are_refused(pairs: int) -> None:
    with pytest.raises(RunFailed, match="even number"):
        turns(pairs, 1)


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((1.05, 1.02, 1.08), "worse"),
        ((0.95, 0.92, 0.98), "better"),
        ((1.00, 0.97, 1.03), "no difference"),
        # Sure, and too small to count.
        ((1.01, 1.005, 1.015), "no difference"),
        # Large enough to count, and not sure.
        ((1.03, 0.99, 1.07), "not enough data"),
        ((1.00, 0.90, 1.10), "not enough data"),
        ((1.03, 1.001, 1.06), "worse"),
    ],
)
def test_decisions(interval: tuple[float, float, float], expected: str) -> None:
    assert decide(Interval(*interval), LIMITS, is_more_better=False) == expected


def test_more_throughput_is_better_and_more_latency_worse() -> None:
    more = Interval(1.05, 1.03, 1.07)

    assert decide(more, LIMITS, is_more_better=True) == "better"
    assert decide(more, LIMITS, is_more_better=False) == "worse"


def test_the_advice_is_what_root_n_says() -> None:
    wide = Interval(1.0, math.exp(-0.08), math.exp(0.08))

    # 0.08 must become 0.8 * ln 1.05 = 0.039: 8 * (0.08 / 0.039)^2 = 33.6.
    assert pairs_advised(wide, LIMITS, 8) == 34
    assert pairs_advised(Interval(1.02, 0.995, 1.051), LIMITS, 8) == 12


def test_closed_loops_are_about_throughput_and_open_ones_about_their_percentile() -> None:
    closed = metrics(Closed(in_flight=4))
    opened = metrics(Open(rate=10, percentile=95))

    assert [one.name for one in closed] == ["throughput", "mean", "p50", "p90", "p99"]
    assert [one.name for one in opened] == ["p95", "mean", "p50", "p90", "p99"]
    assert [one.name for one in metrics(Offline(calls=5))] == ["throughput"]


def calls(count: int, latency_ns: int, *, warmup: int = 0, failed: int = 0) -> Calls:
    rows = np.zeros(count, ROW)
    rows["index"] = np.arange(count)
    rows["scheduled_ns"] = np.arange(count) * 1_000_000
    rows["done_ns"] = rows["scheduled_ns"] + latency_ns
    rows["phase"][:warmup] = WARMUP
    rows["code"][warmup : warmup + failed] = 14
    return Calls(rows, np.zeros(0, np.int64), np.zeros(0, np.int64))


def test_a_sample_leaves_out_warm_up_and_failures() -> None:
    sample = Sample.of(calls(100, 500_000, warmup=10, failed=5), measured_s=0.090)

    assert sample.index.tolist() == list(range(15, 100))
    assert sample.latency_us.tolist() == [500.0] * 85
    # 85 in 90 ms, and half of the last call of the warm-up; of the last one only two thirds.
    assert sample.per_s == pytest.approx(85 / 0.090)


def test_calls_that_cross_an_edge_count_by_their_part() -> None:
    """Four in flight for 10 ms each, however the edges cut them."""
    rows = np.zeros(400, ROW)
    rows["index"] = np.arange(400)
    rows["scheduled_ns"] = np.arange(400) // 4 * 10_000_000
    rows["done_ns"] = rows["scheduled_ns"] + 10_000_000
    rows["phase"][:40] = WARMUP
    made = Calls(rows, np.zeros(0, np.int64), np.zeros(0, np.int64))

    assert [Sample.of(made, span_s).per_s for span_s in (0.5, 0.503, 0.507)] == [
        pytest.approx(400)
    ] * 3


def test_a_sample_of_nothing_is_empty() -> None:
    sample = Sample.of(Calls.none(), measured_s=1)

    assert len(sample.latency_us) == 0
    assert sample.per_s == 0


def test_calls_are_aligned_by_their_place_in_the_schedule() -> None:
    whole = Sample.of(calls(50, 500_000), 0.05)
    broken = Sample.of(calls(50, 700_000, failed=20), 0.05)

    a, b = align(whole, broken)

    assert len(a) == len(b) == 30
    assert (b - a == 200).all()


def couples(ratio: float, count: int = 600, spread: float = 0.1) -> list[Couple]:
    draw = np.random.default_rng(5)

    def sample(factor: float) -> Sample:
        latency_us = 1000 * factor * np.exp(spread * draw.normal(size=count))
        return Sample(np.arange(count), latency_us, 4e6 / float(latency_us.mean()))

    orders: tuple[Side, Side] = ("A", "B")
    return [Couple(sample(1), sample(ratio), orders[n % 2], is_shared=False) for n in range(8)]


def test_every_metric_is_compared_and_the_first_one_decides_at_its_own_level() -> None:
    wanted = metrics(Closed(in_flight=4))

    found = compare(couples(1.1), wanted, LIMITS)

    assert [one.metric for one in found] == list(wanted)
    assert found[0].level == 0.99
    assert {one.level for one in found[1:]} == {0.9975}
    assert [one.decision for one in found[:4]] == ["worse"] * 4
    assert found[0].interval is not None
    # Slower: less of it, and the interval the right way round.
    assert found[0].interval.low < found[0].interval.ratio < found[0].interval.high < 1
    assert found[0].interval.ratio == pytest.approx(1 / 1.1, rel=0.01)
    # Throughput in calls per second, the others in us.
    assert found[0].a[0] == pytest.approx(4000, rel=0.05)
    assert found[2].a[0] == pytest.approx(1000, rel=0.05)


def test_a_percentile_without_its_samples_is_not_compared() -> None:
    found = compare(couples(1.5, count=300), (Metric("p99", 99.0), Metric("p50", 50.0)), LIMITS)

    assert (found[0].decision, found[0].interval) == ("not enough data", None)
    assert set(found[0].a) == {None}
    assert "p99 needs 459 answers in each run, the one with the fewest has 300" in finding(
        found[0], LIMITS
    )
    assert "1.6 times as long" in advice(found[0], LIMITS, 8)
    assert found[1].decision == "worse"


def test_runs_without_answers_are_not_enough_data() -> None:
    nothing = Sample.of(Calls.none(), 1)
    empty = [Couple(nothing, nothing, "A", is_shared=True)] * 4

    found = compare(empty, metrics(Open(rate=5)), LIMITS)

    assert {one.decision for one in found} == {"not enough data"}


def test_runs_that_never_vary_are_compared_exactly() -> None:
    found = compare(couples(1.1, spread=0), metrics(Closed(in_flight=4)), LIMITS)

    assert [one.decision for one in found] == ["worse"] * 5


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(1.05, "5 % higher"), (0.952, "4.8 % lower"), (1.0, "the same"), (3, "200 % higher")],
)
def test_ratios_read_as_changes(ratio: float, text: str) -> None:
    assert change(ratio).replace("5.0", "5") == text
