"""Measuring the cost of runs on tiny bundles of every kind."""

from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

import bundles
import msgspec
import numpy as np
import pytest

from server.batching import measure
from server.batching.choice import Choice
from server.batching.cost import Cost
from server.batching.sessions import open_sessions
from server.batching.setup import open_rows, open_sequences, sequence_options
from server.config import ServerConfig
from server.errors import BundleCorrupt
from server.repository.bundle import open_bundle
from server.repository.contract import require_text
from server.repository.manifest import Limits, TextFiles

CONFIG = ServerConfig(tuning="")


@pytest.mark.parametrize(
    "build",
    [
        bundles.build_encoder,
        bundles.build_topics,
        bundles.build_tagger,
        bundles.build_reader,
        bundles.build_filler,
    ],
)
def test_every_kind_of_text_is_measured(build: Callable[[Path], Path], tmp_path: Path) -> None:
    bundle = open_bundle(build(tmp_path))

    options = open_sequences(open_sessions(bundle, CONFIG), bundle.manifest, CONFIG)

    assert options.cost != Cost.assumed(bundles.HIDDEN)
    assert 0 < options.cost.run(1, 16, 1) < 1


def test_rows_of_a_fixed_shape_are_measured(tmp_path: Path) -> None:
    bundle = open_bundle(bundles.build_rows(tmp_path, height=3))

    options = open_rows(open_sessions(bundle, CONFIG), bundle.manifest, CONFIG)

    assert 0 < options.cost.run(1, 1, 1) < 1
    assert options.cost != Cost.assumed(bundles.HIDDEN)


def test_rows_of_a_free_shape_keep_the_assumed_cost(tmp_path: Path) -> None:
    bundle = open_bundle(bundles.build_rows(tmp_path))

    options = open_rows(open_sessions(bundle, CONFIG), bundle.manifest, CONFIG)

    assert options.cost == Cost.assumed(bundles.HIDDEN)


def test_cost_that_is_known_is_not_measured_again(tmp_path: Path) -> None:
    bundle = open_bundle(bundles.build_encoder(tmp_path))
    known = Cost(1.0, 2.0, 3.0, 4.0, 5.0)
    opened = open_sessions(bundle, CONFIG, Choice(1, cost=known))

    assert open_sequences(opened, bundle.manifest, CONFIG).cost == known


def test_run_that_fails_while_measured_means_a_corrupt_bundle(tmp_path: Path) -> None:
    bundle = open_bundle(bundles.build_encoder(tmp_path))
    text, limits = require_text(bundle.manifest)
    poisonous = msgspec.structs.replace(text, pad_id=bundles.POISON_ID)
    layout = sequence_options(bundle.manifest, CONFIG).layout
    (session,) = open_sessions(bundle, CONFIG).sessions

    with pytest.raises(BundleCorrupt, match="measure"):
        measure.measure(session, layout, measure.sequence_runs(poisonous, limits, 256))


@pytest.mark.parametrize("max_tokens", [1, 2, 16, 512, 8192])
@pytest.mark.parametrize("budget", [1, 7, 256, 8192])
def test_measured_runs_are_legal_and_few(max_tokens: int, budget: int) -> None:
    limits = Limits(max_tokens, 100, max_tokens)

    runs = measure.sequence_runs(TextFiles(), limits, budget)

    assert 1 <= len(runs) * measure.NUM_ROUNDS <= 40
    assert all(len(unit) <= max_tokens for units, _ in runs for unit in units)
    # The longest sequence is one of them, even where it is beyond the budget.
    most = max(budget, min(max_tokens, budget * measure.MAX_BUDGETS))
    assert all(plan.padded_tokens <= most for _, plan in runs)
    for units, plan in runs:
        assert plan.chosen == list(range(len(units)))
        assert {sum(len(units[index]) for index in row) for row in plan.rows} == {plan.width}


def test_measured_cost_is_finite_and_not_negative(tmp_path: Path) -> None:
    bundle = open_bundle(bundles.build_encoder(tmp_path))
    cost = open_sequences(open_sessions(bundle, CONFIG), bundle.manifest, CONFIG).cost

    assert np.isfinite(astuple(cost)).all()
    assert min(astuple(cost)) >= 0
