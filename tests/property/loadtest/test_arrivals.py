import math
from typing import get_args

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.arrivals.process import Piece, constant, poisson, rescaled
from loadtest.arrivals.schedule import schedule
from loadtest.arrivals.split import part
from loadtest.record.row import WARMUP
from loadtest.scenario.schema import Arrival, Arrivals, Open, Phase, Replay, span_s

seeds = st.integers(0, 2**63 - 1)
rates = st.floats(0.5, 300)
phases = st.lists(
    st.builds(Phase, for_s=st.floats(0.1, 5), rate=rates, to_rate=st.none() | rates),
    min_size=1,
    max_size=5,
)
opens = st.builds(
    Open,
    phases=phases.map(tuple),
    warmup_s=st.just(0.0) | st.floats(0.01, 3),
    seed=seeds,
    arrivals=st.sampled_from(get_args(Arrivals)),
)


def pieces(scenario: Open) -> list[Piece]:
    return [Piece(one.for_s, one.rate, one.to_rate or one.rate) for one in scenario.stretches]


def cumulative(at_s: npt.NDArray[np.float64], parts: list[Piece]) -> npt.NDArray[np.float64]:
    """The cumulative rate by integrating piece by piece: the other way round."""
    total = np.zeros(len(at_s))
    begin_s = 0.0
    for piece in parts:
        inside = np.clip(at_s - begin_s, 0, piece.for_s)
        slope = (piece.to_rate - piece.rate) / piece.for_s
        total += piece.rate * inside + slope * inside**2 / 2
        begin_s += piece.for_s
    return total


@settings(deadline=None)
@given(opens)
def test_instants_are_sorted_and_inside_the_run(scenario: Open) -> None:
    made = schedule(scenario)

    assert (np.diff(made.instants_ns) >= 0).all()
    assert ((made.instants_ns >= 0) & (made.instants_ns < made.span_ns)).all()
    assert made.instants_ns.dtype == np.int64
    assert ((made.phases == WARMUP) == (made.instants_ns < made.measured_from_ns)).all()
    assert made.phases.max(initial=0) < len(scenario.stretches)
    assert abs(made.span_ns - (scenario.warmup_s + (span_s(scenario) or 0)) * 1e9) <= 1


@settings(deadline=None)
@given(opens, st.integers(1, 9))
def test_the_parts_of_all_workers_are_the_schedule(scenario: Open, workers: int) -> None:
    made = schedule(scenario)

    parts = [part(len(made), worker, workers) for worker in range(workers)]

    merged = np.sort(np.concatenate(parts))
    assert np.array_equal(merged, np.arange(len(made)))
    # Evenly at every moment: no worker is ever two calls ahead of another.
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    again = schedule(scenario)
    assert np.array_equal(np.sort(np.concatenate([again.instants_ns[one] for one in parts])),
                          made.instants_ns)  # fmt: skip


# 6 standard deviations: by chance once in 500 million, so never in a few hundred examples.
@settings(deadline=None)
@given(opens)
def test_each_phase_has_as_many_calls_as_its_rate_says(scenario: Open) -> None:
    counts = np.bincount(schedule(scenario).phases + 1, minlength=len(scenario.stretches) + 1)

    expected = np.array([scenario.stretches[0].rate * scenario.warmup_s,
                         *(piece.expected for piece in pieces(scenario))])  # fmt: skip
    spread = 6 * np.sqrt(expected) + 6 if scenario.arrivals == "poisson" else 1 + 1e-6
    assert (np.abs(counts - expected) <= spread).all()


@settings(deadline=None)
@given(phases.map(lambda made: Open(phases=tuple(made))), seeds)
def test_rescaling_is_undone_by_the_cumulative_rate(scenario: Open, seed: int) -> None:
    parts = pieces(scenario)
    total = sum(piece.expected for piece in parts)
    units = np.sort(np.random.default_rng(seed).uniform(0, total, 200))

    np.testing.assert_allclose(cumulative(rescaled(units, parts), parts), units, atol=1e-6)


@settings(deadline=None)
@given(phases.map(lambda made: Open(phases=tuple(made))))
def test_constant_arrivals_come_at_whole_numbers_of_the_cumulative_rate(scenario: Open) -> None:
    parts = pieces(scenario)
    instants = constant(parts)

    np.testing.assert_allclose(cumulative(instants, parts), np.arange(len(instants)), atol=1e-6)


# The 0.1 % critical value of the Kolmogorov-Smirnov distance is 1.95 / sqrt(n); over some hundred
# examples one in a million is what must not be met by chance: 2.7 / sqrt(n).
@settings(max_examples=50, deadline=None)
@given(seeds, st.floats(10, 2000), st.floats(10, 2000))
def test_rescaled_gaps_are_exponential(seed: int, rate: float, to_rate: float) -> None:
    parts = [Piece(2, rate, to_rate), Piece(4000 / to_rate, to_rate, to_rate)]
    gaps = np.diff(cumulative(poisson(parts, seed), parts))

    ordered = np.sort(gaps)
    count = len(ordered)
    expected = 1 - np.exp(-ordered)
    above = np.arange(1, count + 1) / count - expected
    below = expected - np.arange(count) / count
    assert max(above.max(), below.max()) < 2.7 / math.sqrt(count)


@settings(deadline=None)
@given(opens)
def test_a_seed_gives_one_schedule(scenario: Open) -> None:
    first, second = schedule(scenario), schedule(scenario)

    assert np.array_equal(first.instants_ns, second.instants_ns)
    assert np.array_equal(first.phases, second.phases)


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 100), min_size=2, max_size=50, unique=True),
    st.floats(0.5, 20),
    st.floats(0, 10),
    st.integers(1, 60),
)
def test_every_recorded_call_keeps_its_place(
    at_s: list[float], speed: float, warmup_s: float, seed: int
) -> None:
    recorded = tuple(Arrival(at - min(at_s), (3,)) for at in sorted(at_s))
    if recorded[-1].at_s * 1000 < len(recorded):  # a rate that no run holds
        return

    made = schedule(Replay(recorded=recorded, speed=speed, warmup_s=warmup_s, seed=seed))

    measured = made.phases == 0
    assert made.payloads(len(recorded))[measured].tolist() == list(range(len(recorded)))
    since_s = (made.instants_ns[measured] - made.measured_from_ns) / 1e9
    np.testing.assert_allclose(since_s * speed, [one.at_s for one in recorded], atol=1e-7)
    assert (np.diff(made.instants_ns) >= 0).all()
    assert (made.instants_ns < made.span_ns).all()
