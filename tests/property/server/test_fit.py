"""Fitting the cost model: what is planted in measured runs is found again."""

from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.batching.cost import Cost
from server.batching.fit import Observation, fit, relative_errors

TOKEN_S = 1e-4
COSTS = st.builds(
    Cost,
    run_s=st.floats(5 * TOKEN_S, 50 * TOKEN_S),
    row_s=st.floats(TOKEN_S, 5 * TOKEN_S),
    token_s=st.just(TOKEN_S),
    pair_s=st.floats(TOKEN_S / 1000, TOKEN_S / 200),
    segment_s=st.floats(TOKEN_S / 2, 5 * TOKEN_S),
)
SHAPES = (
    (1, 1, 1), (1, 16, 1), (1, 64, 1), (1, 256, 1), (16, 1, 16), (16, 16, 16), (4, 64, 4),
    (4, 64, 16), (2, 128, 2), (1, 256, 16), (1, 256, 128), (1, 512, 32),
)  # fmt: skip
NOISE = 0.02
SEEDS = st.integers(0, 1000)


def observe(cost: Cost, seed: int = 0, noise: float = 0.0) -> list[Observation]:
    factors = 1.0 + np.random.default_rng(seed).uniform(-noise, noise, len(SHAPES))
    return [
        Observation(*shape, cost.run(*shape) * factor)
        for shape, factor in zip(SHAPES, factors, strict=True)
    ]


@given(COSTS)
def test_planted_coefficients_are_found(cost: Cost) -> None:
    assert astuple(fit(observe(cost))) == pytest.approx(astuple(cost), rel=1e-3)


@given(COSTS, SEEDS)
def test_noise_costs_no_more_than_it_is(cost: Cost, seed: int) -> None:
    found = fit(observe(cost, seed, NOISE))

    assert max(map(abs, relative_errors(found, observe(cost)))) <= 2 * NOISE


@given(COSTS, SEEDS, st.sampled_from(range(len(SHAPES))), st.floats(1.5, 20))
def test_one_run_that_was_disturbed_does_not_bend_the_rest(
    cost: Cost, seed: int, index: int, factor: float
) -> None:
    observations = observe(cost, seed, NOISE / 4)
    disturbed = observations[index]
    observations[index] = replace(disturbed, seconds=disturbed.seconds * factor)

    found = fit(observations)

    errors = relative_errors(found, observe(cost))
    # The disturbed shape itself is predicted from the others, and may be out of their range.
    assert max(abs(error) for place, error in enumerate(errors) if place != index) <= 2 * NOISE


@given(st.lists(st.tuples(st.sampled_from(SHAPES), st.floats(1e-6, 10)), min_size=1, max_size=12))
def test_no_coefficient_is_ever_negative(runs: list[tuple[tuple[int, int, int], float]]) -> None:
    found = fit([Observation(*shape, seconds) for shape, seconds in runs])

    assert min(astuple(found)) >= 0
    assert all(np.isfinite(astuple(found)))
