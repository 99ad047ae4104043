"""The planner: whatever waits, a run is legal, holds the head, and is worth it."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from server.batching.cost import Cost
from server.batching.packing import TokenSequence, answer_order, pack, unpack
from server.batching.plan import MAX_PADDING, Plan, conventional_s, packed, padded, sorted_padded

TOKEN_S = 1e-4
COSTS = st.one_of(
    st.just(Cost.assumed(384)),
    st.builds(
        Cost,
        run_s=st.floats(0, 100 * TOKEN_S),
        row_s=st.floats(0, 10 * TOKEN_S),
        token_s=st.just(TOKEN_S),
        pair_s=st.floats(0, TOKEN_S),
        segment_s=st.floats(0, TOKEN_S),
    ),
)
LENGTHS = st.lists(st.integers(1, 256), min_size=1, max_size=80)
BUDGETS = st.integers(1, 2048)
ROWS = st.sampled_from([1, 16, 64, 256])
ROUNDING = 1.0 + 1e-9


def check_layout(plan: Plan, lengths: Sequence[int]) -> None:
    """No sequence is in twice, the head is in, and every row is wide enough."""
    indices = [index for row in plan.rows for index in row]
    assert len(indices) == len(set(indices))
    assert 0 in indices
    assert all(plan.rows)
    fills = [sum(lengths[index] for index in row) for row in plan.rows]
    assert max(fills) == plan.width


def seconds(cost: Cost, plan: Plan) -> float:
    return cost.run(len(plan.rows), plan.width, plan.num_units)


@given(LENGTHS, BUDGETS, ROWS, COSTS)
def test_packed_plan_is_a_layout_with_the_head_within_the_budget(
    lengths: list[int], budget: int, min_row_tokens: int, cost: Cost
) -> None:
    plan = packed(cost, min_row_tokens)(lengths, budget)

    check_layout(plan, lengths)
    assert sum(lengths[index] for index in plan.chosen) <= max(budget, lengths[0])
    assert plan.padded_tokens <= max(budget * (1 + MAX_PADDING), lengths[0])


@given(LENGTHS, BUDGETS, ROWS, COSTS)
def test_packed_plan_is_never_predicted_slower_than_conventional_batches_of_the_same_set(
    lengths: list[int], budget: int, min_row_tokens: int, cost: Cost
) -> None:
    plan = packed(cost, min_row_tokens)(lengths, budget)
    same = [lengths[index] for index in plan.chosen]

    predicted = seconds(cost, plan) / ROUNDING
    assert predicted <= cost.alone(same)
    assert predicted <= cost.run(len(same), max(same), len(same))
    assert predicted <= conventional_s(cost, same, budget)


@given(LENGTHS, BUDGETS, ROWS, COSTS)
def test_packed_plan_is_never_predicted_slower_per_token_than_its_head_alone(
    lengths: list[int], budget: int, min_row_tokens: int, cost: Cost
) -> None:
    plan = packed(cost, min_row_tokens)(lengths, budget)

    tokens = sum(lengths[index] for index in plan.chosen)
    alone = cost.run(1, lengths[0], 1) / lengths[0]
    assert seconds(cost, plan) / tokens <= alone * ROUNDING


@given(st.integers(1, 256), st.integers(1, 80), BUDGETS, ROWS, COSTS)
def test_among_equal_sequences_nobody_is_overtaken(
    length: int, count: int, budget: int, min_row_tokens: int, cost: Cost
) -> None:
    plan = packed(cost, min_row_tokens)([length] * count, budget)

    assert plan.chosen == list(range(plan.num_units))


@given(LENGTHS, ROWS, COSTS)
def test_every_sequence_runs_in_the_end(
    lengths: list[int], min_row_tokens: int, cost: Cost
) -> None:
    waiting = list(range(len(lengths)))
    plan = packed(cost, min_row_tokens)
    runs = 0
    while waiting:
        chosen = plan([lengths[index] for index in waiting], 256).chosen
        waiting = [index for place, index in enumerate(waiting) if place not in chosen]
        runs += 1

    assert runs <= len(lengths)


def test_short_sequences_leave_a_long_one_between_them_to_a_run_of_its_own() -> None:
    lengths = [16, 16, 240, *[16] * 14]

    plan = packed(Cost.assumed(384), 64)(lengths, 256)

    assert 2 not in plan.chosen
    assert plan.num_units == 16


@given(LENGTHS, st.integers(1, 32))
def test_padded_plan_takes_one_row_each_in_order(lengths: list[int], max_rows: int) -> None:
    plan = padded(max_rows)(lengths, 0)

    check_layout(plan, lengths)
    assert plan.rows == tuple((index,) for index in range(min(len(lengths), max_rows)))


@given(LENGTHS, BUDGETS)
def test_unpacking_a_packed_run_gives_the_sequences_back(lengths: list[int], budget: int) -> None:
    random = np.random.default_rng(0)
    sequences = [
        TokenSequence(random.integers(0, 1000, length), np.arange(length)) for length in lengths
    ]
    planned = packed(Cost.assumed(384), 64)(lengths, budget)
    units, plan = [sequences[index] for index in planned.chosen], planned.renumbered()

    feeds = pack(units, plan, pad_id=0)
    found = unpack(feeds["input_ids"], feeds["segment_ids"], feeds["position_ids"])

    assert feeds["input_ids"].shape == (len(plan.rows), plan.width)
    for index, sequence in zip(answer_order(plan), found, strict=True):
        np.testing.assert_array_equal(sequence.input_ids, units[index].input_ids)
        np.testing.assert_array_equal(sequence.position_ids, units[index].position_ids)


@given(lengths=st.lists(st.integers(1, 512), min_size=1, max_size=80), max_rows=st.integers(1, 20))
def test_sorted_plan_takes_the_head_with_its_neighbours_by_length(
    lengths: list[int], max_rows: int
) -> None:
    plan = sorted_padded(max_rows)(lengths, 0)
    chosen = [lengths[index] for index in plan.chosen]
    assert 0 in plan.chosen
    assert plan.width == max(chosen)
    assert len(chosen) <= max_rows
    others = [length for index, length in enumerate(lengths) if index not in plan.chosen]
    assert not any(min(chosen) < length < max(chosen) for length in others)
