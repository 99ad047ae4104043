import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from load_rows import MS, S, many

from loadtest.analysis.breakdown import SLICES, about, breakdown, stages_ns
from loadtest.analysis.confidence import allowed_over, chance, minimum_samples
from loadtest.analysis.series import series
from loadtest.analysis.summary import PERCENTILES, clocks, in_flight, in_flight_quarters, latency
from loadtest.analysis.window import Window
from loadtest.record.calls import Calls, merge
from loadtest.record.histogram import Histogram
from loadtest.record.row import MISSING
from loadtest.scenario.requests import Request
from loadtest.scenario.schema import Open

seeds = st.integers(0, 2**32)
counts = st.integers(1, 3000)
percentiles = st.floats(50, 99.99)
timings = st.integers(MISSING, 30 * MS)


def heavy(seed: int, count: int) -> Calls:
    """Calls with a long tail, sent late, with whatever a server may say of its time."""
    draw = np.random.default_rng(seed)
    scheduled = np.sort(draw.integers(0, 10 * S, count))
    late = draw.integers(0, 3 * MS, count)
    took = late + np.exp(draw.normal(15, 1.5, count)).astype(np.int64)
    said = {name: draw.integers(MISSING, 20 * MS, count)
            for name in ("tokenize_ns", "queue_ns", "run_ns", "total_ns")}  # fmt: skip
    return many(scheduled, took, sent_ns=scheduled + late, **said)


@settings(deadline=None)
@given(seeds, counts)
def test_percentiles_agree_with_exact_ones(seed: int, count: int) -> None:
    calls = heavy(seed, count)

    found = latency(Histogram.of_ns(calls.latency_ns))

    exact_us = calls.latency_ns / 1000
    assert found.samples == count
    assert found.mean == pytest.approx(exact_us.mean(), rel=0.004)
    for name, percentile in PERCENTILES.items():
        figure = getattr(found, name)
        assert (figure is None) == (count < minimum_samples(percentile))
        if figure is not None:
            # Half a microsecond for rounding.
            exact = np.percentile(exact_us, percentile, method="inverted_cdf")
            assert abs(figure - exact) <= 0.004 * exact + 0.5


@settings(deadline=None)
@given(seeds, counts, st.integers(1, 5))
def test_the_parts_of_several_workers_give_the_figures_of_the_whole(
    seed: int, count: int, workers: int
) -> None:
    whole = heavy(seed, count)
    parts = [whole.where(whole.rows["index"] % workers == worker) for worker in range(workers)]

    merged = merge(parts[::-1])

    assert np.array_equal(merged.rows, whole.rows)
    assert clocks(merged, (Request(),)) == clocks(whole, (Request(),))
    histogram = Histogram()
    for one in parts:
        histogram.merge(Histogram.of_ns(one.latency_ns))
    assert latency(histogram) == clocks(whole, (Request(),)).from_schedule


@settings(deadline=None)
@given(seeds, counts)
def test_stages_sum_to_the_latency_to_the_nanosecond(seed: int, count: int) -> None:
    calls = heavy(seed, count)
    timed = calls.where(calls.rows["total_ns"] >= 0)

    spent = stages_ns(timed)

    assert np.array_equal(sum(spent.values()), timed.latency_ns)
    for column in spent.values():
        assert (column >= 0).all()


@settings(deadline=None)
@given(timings, timings, timings, st.integers(0, 60 * MS))
def test_stages_are_what_the_server_said_where_that_is_possible(
    tokenize: int, queue: int, run: int, total: int
) -> None:
    waited = 50 * MS
    calls = many(
        np.zeros(1, np.int64), np.array([waited]),
        tokenize_ns=tokenize, queue_ns=queue, run_ns=run, total_ns=total,
    )  # fmt: skip

    spent = {name: int(column[0]) for name, column in stages_ns(calls).items()}

    named = [max(value, 0) for value in (tokenize, queue, run)]
    assert spent["network"] == max(waited - total, 0)
    if sum(named) <= min(total, waited):
        assert [spent["tokenize"], spent["queue"], spent["run"]] == named
    else:
        assert spent["rest"] == 0


@settings(deadline=None)
@given(seeds, st.integers(7, 3000))
def test_slices_sum_to_their_latency_and_hold_their_percentile(seed: int, count: int) -> None:
    calls = heavy(seed, count)
    calls.rows["total_ns"] = np.maximum(calls.rows["total_ns"], 0)

    found = breakdown(calls)

    assert found is not None
    claimed = [percentile for percentile in SLICES if count >= minimum_samples(percentile)]
    assert [one.percentile for one in found.slices] == claimed
    ordered = np.sort(calls.latency_ns) / 1000
    for one in found.slices:
        assert sum(one.stages.values()) == pytest.approx(one.latency)
        ranks = about(one.percentile, count)
        assert one.calls == ranks.stop - ranks.start
        exact = np.percentile(ordered, one.percentile, method="inverted_cdf")
        assert ordered[ranks][0] <= exact <= ordered[ranks][-1]
    if found.tail_owner:
        grown = {name: found.slices[-1].stages[name] - found.slices[0].stages[name]
                 for name in found.stages}  # fmt: skip
        assert grown[found.tail_owner] == max(grown.values()) > 0


@settings(deadline=None)
@given(percentiles, st.integers(0, 200))
def test_allowed_over_inverts_minimum_samples(percentile: float, over: int) -> None:
    needed = minimum_samples(percentile, over)

    assert allowed_over(percentile, needed) == over
    below = allowed_over(percentile, needed - 1)
    assert (-1 if below is None else below) == over - 1


@settings(deadline=None)
@given(st.floats(50, 99), st.integers(1, 500), st.integers(0, 20))
def test_chance_is_the_binomial_sum(percentile: float, samples: int, over: int) -> None:
    above = 1 - percentile / 100
    exact = math.fsum(
        math.comb(samples, k) * above**k * (1 - above) ** (samples - k)
        for k in range(min(over, samples) + 1)
    )

    assert chance(samples, over, percentile) == pytest.approx(exact, rel=1e-9)


@settings(deadline=None)
@given(seeds, counts)
def test_calls_in_flight_follow_littles_law(seed: int, count: int) -> None:
    calls = heavy(seed, count)
    end_ns = int(calls.column("done_ns").max())

    mean = in_flight(calls, 0, end_ns)

    assert mean * end_ns == pytest.approx(float(calls.latency_ns.sum()))
    quarters = in_flight_quarters(calls, Window(0, end_ns))
    assert sum(quarters) / 4 == pytest.approx(mean, rel=1e-6)


@settings(deadline=None)
@given(seeds, counts)
def test_slices_of_time_lose_no_call_before_their_end(seed: int, count: int) -> None:
    calls = heavy(seed, count)

    cut = series(calls, Open(rate=1), 10 * S)

    assert len(cut.start_s) == 50
    due = sum(cut.offered_per_s) * cut.width_s
    assert due == pytest.approx(count)
    highest = max(value for value in cut.max_us if value is not None)
    assert highest == pytest.approx(calls.latency_ns.max() / 1000)
