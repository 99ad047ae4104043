import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.errors import QualityBelowBudget
from export.proof.budget import walk_back

COSTS = {"a": 0.001, "b": 0.05, "c": 0.0005, "d": 0.02}


def loss(kept: frozenset[str]) -> float:
    return sum(cost for layer, cost in COSTS.items() if layer not in kept)


def test_nothing_is_kept_where_everything_is_cheap_enough() -> None:
    assert walk_back(list(COSTS), loss, 0.1) == frozenset()


def test_the_costliest_are_kept_and_no_more() -> None:
    assert walk_back(list(COSTS), loss, 0.03) == {"b"}
    assert walk_back(list(COSTS), loss, 0.002) == {"b", "d"}


def test_a_budget_that_nothing_meets_is_refused() -> None:
    with pytest.raises(QualityBelowBudget, match="every layer in float"):
        walk_back(list(COSTS), lambda _: 0.5, 0.1)


@given(
    st.dictionaries(st.text(max_size=3), st.floats(0, 1), min_size=1, max_size=12),
    st.floats(0, 3),
)
def test_what_is_left_is_always_within_the_budget(costs: dict[str, float], budget: float) -> None:
    def cost(kept: frozenset[str]) -> float:
        return sum(one for layer, one in costs.items() if layer not in kept)

    kept = walk_back(list(costs), cost, budget)
    assert cost(kept) <= budget
