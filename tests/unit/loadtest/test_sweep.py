import pytest

from loadtest.commands.options import BadOption
from loadtest.commands.sweep import levels_of
from loadtest.search.ladder import MOST_IN_FLIGHT, Seen, next_in_flight, next_rate


def climb(throughput: dict[int, float]) -> list[int]:
    """Sweep over calls in flight; the levels that were run."""
    seen: list[Seen] = []
    while (level := next_in_flight(seen)) is not None:
        seen.append(Seen(level, throughput.get(level, max(throughput.values())), is_valid=True))
    return [int(each.level) for each in seen]


def test_calls_in_flight_double_until_throughput_was_flat_twice() -> None:
    assert climb({1: 10, 2: 19, 4: 35, 8: 50, 16: 51, 32: 51.5}) == [1, 2, 4, 8, 16, 32]


def test_slow_growth_that_adds_up_is_growth() -> None:
    """4 % twice is more than 5 % over the best that counted."""
    assert climb({1: 100, 2: 104, 4: 108.2, 8: 112, 16: 112}) == [1, 2, 4, 8, 16]


def test_calls_in_flight_have_a_limit() -> None:
    endless = {2**power: float(2**power) for power in range(20)}

    assert climb(endless)[-1] == MOST_IN_FLIGHT


def test_failed_calls_end_the_doubling() -> None:
    assert next_in_flight([Seen(1, 10, is_valid=True), Seen(2, 20, is_valid=False)]) is None


def rates(capacity: float, start: float) -> list[float]:
    seen: list[Seen] = []
    while (rate := next_rate(seen, start)) is not None:
        seen.append(Seen(rate, min(rate, capacity), is_valid=rate <= capacity))
    return [each.level for each in seen]


def test_rates_double_until_the_server_falls_behind_then_fill_the_gap() -> None:
    found = rates(capacity=100, start=20)

    assert found[:4] == [20, 40, 80, 160]
    assert found[4:] == pytest.approx([80 * 2**0.25, 80 * 2**0.5, 80 * 2**0.75])


def test_a_server_that_falls_behind_at_once_has_no_curve() -> None:
    assert rates(capacity=1, start=20) == [20]


def test_rates_have_a_limit() -> None:
    assert len(rates(capacity=1e12, start=1)) == 13


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["in-flight"], ("in-flight", [])),
        (["in-flight", "1,2,4"], ("in-flight", [1, 2, 4])),
        (["in-flight", "4", "1,", "2,2"], ("in-flight", [1, 2, 4])),
        (["rate", "50,12.5"], ("rate", [12.5, 50])),
    ],
)
def test_levels_are_read(given: list[str], expected: tuple[str, list[float]]) -> None:
    assert levels_of(given) == expected


@pytest.mark.parametrize(
    "given",
    [
        ["users", "1"],
        ["in-flight", "0"],
        ["in-flight", "1.5"],
        ["in-flight", "99999"],
        ["rate", "-1"],
        ["rate", "nan"],
        ["rate", "inf"],
        ["rate", "fast"],
        ["rate", ",".join(map(str, range(1, 99)))],
    ],
)
def test_levels_that_are_none_are_refused(given: list[str]) -> None:
    with pytest.raises(BadOption, match="--over"):
        levels_of(given)
