import pytest

from loadtest.benchmarks.compare import Comparison, Figures, interleave
from loadtest.benchmarks.policies import SHORT_ONES, lengths


def turns(*values: float) -> list[Figures]:
    return [{"rate": value} for value in values]


def test_sides_take_turns_forwards_and_backwards() -> None:
    order: list[str] = []

    def side(name: str) -> Figures:
        order.append(name)
        return {"rate": 1.0}

    interleave("test", {"a": lambda: side("a"), "b": lambda: side("b")}, 3)

    assert order == ["a", "b", "b", "a", "a", "b"]


def test_the_ratio_is_the_median_of_the_turns_ratios() -> None:
    # The machine got slower by the turn; each turn's ratio did not.
    found = Comparison("test", {"ours": turns(20, 10, 2), "theirs": turns(10, 5, 2)})

    ratio = found.ratio("theirs", "rate")

    assert ratio is not None
    assert (ratio.median, ratio.lowest, ratio.highest) == (2.0, 1.0, 2.0)


def test_nothing_is_a_multiple_of_zero() -> None:
    found = Comparison("test", {"ours": turns(20, 10), "theirs": turns(10, 0)})

    assert found.ratio("theirs", "rate") is None


def test_json_has_every_turn_and_ratio() -> None:
    found = Comparison("test", {"ours": turns(20), "theirs": turns(10)}).as_json()

    assert found["turns"]["ours"] == [{"rate": 20}]
    assert found["ours over"]["theirs"]["rate"]["median"] == 2.0


TOKENS = {
    kind.split()[0].strip(","): [len(line.split()) + 2 for line in lines]
    for kind, lines in lengths(64).items()
}


@pytest.mark.parametrize("kind", TOKENS)
def test_no_text_is_longer_than_the_model_takes(kind: str) -> None:
    assert max(TOKENS[kind]) <= 64


def test_the_adversary_hides_one_long_text_among_short_ones() -> None:
    assert sorted(TOKENS["adversarial"]) == [8] * SHORT_ONES + [64]
