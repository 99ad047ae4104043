import pytest

from loadtest.analysis.confidence import allowed_over, chance, minimum_samples

OVER = (0, 1, 2, 5, 10, 50, 100)
# Total requests that MLPerf's early stopping asks for at 99 % confidence, by requests over.
TABLE = {
    90: (44, 64, 81, 127, 197, 681, 1246),
    95: (90, 130, 165, 259, 398, 1372, 2504),
    99: (459, 662, 838, 1307, 2010, 6898, 12571),
    99.9: (4603, 6636, 8403, 13105, 20140, 69058, 125826),
}
ROWS = [
    (percentile, over, needed)
    for percentile, row in TABLE.items()
    for over, needed in zip(OVER, row, strict=True)
]


@pytest.mark.parametrize(("percentile", "over", "needed"), ROWS)
def test_counts_follow_mlperfs_table(percentile: float, over: int, needed: int) -> None:
    assert minimum_samples(percentile, over) == needed


@pytest.mark.parametrize(("percentile", "over", "needed"), ROWS)
def test_allowed_over_inverts_the_table(percentile: float, over: int, needed: int) -> None:
    assert allowed_over(percentile, needed) == over
    assert allowed_over(percentile, needed - 1) == (over - 1 if over else None)


def test_chance_is_exact_for_a_fair_coin() -> None:
    # 0 or 1 of 4 above the median: (1 + 4) / 16.
    assert chance(4, 1, 50) == pytest.approx(5 / 16)
