from hypothesis import given
from hypothesis import strategies as st

from loadtest.fabric.clock import Offset, Trip, offset, spread

NS = st.integers(0, 10**9)


@given(st.integers(-(10**15), 10**15), st.lists(st.tuples(NS, NS), min_size=1, max_size=20))
def test_true_offset_lies_within_the_error(true_ns: int, ways: list[tuple[int, int]]) -> None:
    """However long the way there and back was, and however unequal."""
    trips, now_ns = [], 10**12
    for there_ns, back_ns in ways:
        trips.append(Trip(now_ns, now_ns + there_ns + true_ns, now_ns + there_ns + back_ns))
        now_ns += there_ns + back_ns

    found = offset(trips)

    assert abs(found.ns - true_ns) <= found.error_ns
    assert found.error_ns == (min(there + back for there, back in ways) + 1) // 2


def test_error_over_a_run_counts_what_the_clocks_ran_apart() -> None:
    assert spread(Offset(1000, 50), Offset(1000, 20)) == 50
    assert spread(Offset(1000, 50), Offset(1400, 20)) == 420
    assert spread(Offset(1000, 50), Offset(600, 20)) == 420
