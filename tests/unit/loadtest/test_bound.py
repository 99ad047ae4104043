import numpy as np
import pytest
from load_rows import MS, calls, many

from loadtest.analysis.bound import bound
from loadtest.analysis.figures import Bound
from loadtest.record.calls import Calls
from loadtest.scenario.schema import Open


def due(count: int, over: int, failed: int = 0) -> Calls:
    latency = np.full(count, 10 * MS)
    latency[:over] += 1
    code = np.zeros(count, np.int64)
    code[over : over + failed] = 14
    return many(np.arange(count), latency, code=code)


def test_no_bound_is_no_test() -> None:
    assert bound(calls(), Open(rate=1)) is None


@pytest.mark.parametrize(
    ("count", "over", "failed", "allowed", "verdict"),
    [
        (458, 0, 0, None, "fails"),
        (459, 0, 0, 0, "holds"),
        (459, 1, 0, 0, "fails"),
        (662, 1, 0, 1, "holds"),
        (662, 2, 0, 1, "fails"),
        # A call that failed had no answer in time.
        (662, 1, 1, 1, "fails"),
        (2010, 6, 4, 10, "holds"),
    ],
)
def test_the_bound_is_tested_as_mlperf_does(
    count: int, over: int, failed: int, allowed: int | None, verdict: str
) -> None:
    found = bound(due(count, over, failed), Open(rate=1, bound_ms=10))

    assert found == Bound(
        percentile=99,
        bound=10_000,
        samples=count,
        over=over + failed,
        allowed_over=allowed,
        holds=verdict == "holds",
    )
