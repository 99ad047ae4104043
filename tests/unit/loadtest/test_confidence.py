import pytest

from loadtest.confidence import allowed_over, chance, minimum_samples


@pytest.mark.parametrize(
    ("percentile", "over", "expected"),
    [
        (90, 0, 44),
        (95, 0, 90),
        (99, 0, 459),
        (99.9, 0, 4603),
        # The value that MLPerf LoadGen prints.
        (99, 1, 662),
        (90, 100, 1246),
        (99.9, 10, 20140),
    ],
)
def test_minimum_samples_follow_the_binomial_table(
    percentile: float, over: int, expected: int
) -> None:
    assert minimum_samples(percentile, over) == expected


def test_chance_is_exact_for_a_fair_coin() -> None:
    # 0 or 1 of 4 above the median: (1 + 4) / 16.
    assert chance(4, 1, 50) == pytest.approx(5 / 16)


@pytest.mark.parametrize(
    ("samples", "expected"), [(458, None), (459, 0), (661, 0), (662, 1), (2010, 10)]
)
def test_allowed_over_inverts_the_table(samples: int, expected: int | None) -> None:
    assert allowed_over(99, samples) == expected
