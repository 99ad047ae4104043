import numpy as np
import pytest

from loadtest.record.histogram import Histogram, edges


def test_short_latencies_are_exact() -> None:
    histogram = Histogram()
    histogram.record(np.arange(1, 256))

    assert [histogram.percentile(p) for p in (1, 50, 99, 100)] == [3, 128, 253, 255]


def test_ranks_are_rounded_before_they_are_cut() -> None:
    # 99.9 % of 1000 is 999, not a little more.
    histogram = Histogram()
    histogram.record(np.arange(1000, 2000))

    assert histogram.percentile(99.9) == pytest.approx(1998, rel=0.004)
    assert histogram.percentile(99.9) < histogram.max


def test_the_largest_value_is_exact() -> None:
    histogram = Histogram()
    histogram.record(np.array([1_000_001, 1_000_003]))

    assert histogram.percentile(100) == histogram.max == 1_000_003


@pytest.mark.parametrize("rank", [0, 3])
def test_a_rank_that_does_not_exist_is_refused(rank: int) -> None:
    histogram = Histogram()
    histogram.record(np.array([1, 2]))

    with pytest.raises(ValueError, match=f"rank {rank} of 2"):
        histogram.value_at(rank)


def test_no_bucket_is_wider_than_the_error_it_may_make() -> None:
    for index in range(10_000):
        low, width = edges(index)
        # The midpoint is what is reported for every value in it.
        assert (width - 1) / 2 <= 0.004 * low or width == 1
