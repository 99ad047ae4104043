"""The planner: whatever waits, a run is legal, complete and worth it."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from server.batching.cost import Cost
from server.batching.packing import TokenSequence, answer_order, pack, unpack
from server.batching.plan import MAX_PADDING, Plan, packed, padded

COST = Cost.of_transformer(384)
LENGTHS = st.lists(st.integers(1, 256), min_size=1, max_size=80)
BUDGETS = st.integers(1, 2048)
ROWS = st.sampled_from([1, 16, 64, 256])


def check_layout(plan: Plan, lengths: Sequence[int]) -> None:
    """Every sequence of the head lies in exactly one row, and every row is wide enough."""
    assert sorted(index for row in plan.rows for index in row) == list(range(plan.num_units))
    fills = [sum(lengths[index] for index in row) for row in plan.rows]
    assert max(fills) == plan.width


@given(LENGTHS, BUDGETS, ROWS)
def test_packed_plan_is_a_layout_of_the_head_within_the_budget(
    lengths: list[int], budget: int, min_row_tokens: int
) -> None:
    plan = packed(COST, min_row_tokens)(lengths, budget)

    check_layout(plan, lengths)
    assert plan.num_units >= 1
    assert sum(lengths[: plan.num_units]) <= max(budget, lengths[0])
    assert plan.padded_tokens <= max(budget * (1 + MAX_PADDING), lengths[0])


@given(LENGTHS, BUDGETS, ROWS)
def test_packed_plan_is_never_predicted_slower_than_running_alone(
    lengths: list[int], budget: int, min_row_tokens: int
) -> None:
    plan = packed(COST, min_row_tokens)(lengths, budget)

    together = COST.run(len(plan.rows), plan.width)
    assert together <= COST.alone(lengths[: plan.num_units])


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
    plan = packed(COST, 64)(lengths, budget)

    feeds = pack(sequences, plan, pad_id=0)
    found = unpack(feeds["input_ids"], feeds["segment_ids"], feeds["position_ids"])

    assert feeds["input_ids"].shape == (len(plan.rows), plan.width)
    for index, sequence in zip(answer_order(plan), found, strict=True):
        np.testing.assert_array_equal(sequence.input_ids, sequences[index].input_ids)
        np.testing.assert_array_equal(sequence.position_ids, sequences[index].position_ids)
