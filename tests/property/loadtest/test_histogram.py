import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.record.histogram import Histogram, edges

# Up to 11 days: longer than any call may take.
values = st.lists(st.integers(1, 10**12), min_size=1, max_size=200)
percentiles = st.sampled_from([1.0, 50.0, 90.0, 95.0, 99.0, 99.9, 100.0])


def histogram(recorded: list[int]) -> Histogram:
    result = Histogram()
    result.record(np.array(recorded, dtype=np.int64))
    return result


@given(values, percentiles)
def test_percentile_is_within_four_permille_of_the_exact_one(
    recorded: list[int], percentile: float
) -> None:
    exact = sorted(recorded)[max(1, math.ceil(round(percentile * len(recorded) / 100, 9))) - 1]

    assert histogram(recorded).percentile(percentile) == pytest.approx(exact, rel=0.004)


@given(values, values)
def test_merge_equals_concatenation(first: list[int], second: list[int]) -> None:
    merged = histogram(first)
    merged.merge(histogram(second))

    together = histogram(first + second)
    assert merged.buckets() == together.buckets()
    assert (merged.count, merged.max, merged.mean) == (together.count, together.max, together.mean)


@given(st.integers(1, 10**12))
def test_a_value_lies_in_its_bucket(value: int) -> None:
    ((low, width, count),) = histogram([value]).buckets()

    assert low <= value < low + width
    assert count == 1


@given(st.integers(0, 5000))
def test_buckets_meet_without_gap(index: int) -> None:
    low, width = edges(index)

    assert low + width == edges(index + 1)[0]


@given(st.lists(st.integers(0, 10**9), min_size=1))
def test_nanoseconds_count_at_least_one_microsecond(recorded: list[int]) -> None:
    result = Histogram.of_ns(np.array(recorded, dtype=np.int64))

    assert result.count == len(recorded)
    assert result.percentile(0) >= 1
