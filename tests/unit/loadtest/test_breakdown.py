import numpy as np
import pytest
from load_rows import MS, calls, many, row

from loadtest.analysis.breakdown import STAGES, about, breakdown, stages_ns
from loadtest.record.row import MISSING


def in_ms(**fields: int) -> dict[str, float]:
    """The stages of a call that took 20 ms and was sent 2 ms late."""
    timings = {name: value * MS for name, value in fields.items()}
    spent = stages_ns(calls(row(0, 20, late_ms=2, **timings)))
    assert tuple(spent) == STAGES
    assert sum(int(column[0]) for column in spent.values()) == 20 * MS
    return {name: int(column[0]) / MS for name, column in spent.items()}


def test_every_nanosecond_has_a_stage() -> None:
    assert in_ms(tokenize_ns=1, queue_ns=5, run_ns=6, total_ns=13) == {
        "lag": 2, "network": 5, "tokenize": 1, "queue": 5, "run": 6, "rest": 1
    }  # fmt: skip


def test_a_stage_without_a_name_is_in_the_rest() -> None:
    spent = stages_ns(calls(row(0, 20, queue_ns=5 * MS, total_ns=13 * MS)))

    assert [int(spent[name][0]) // MS for name in ("tokenize", "queue", "run", "rest")] == [
        0, 5, 0, 8
    ]  # fmt: skip


def test_waiting_while_another_text_ran_is_run() -> None:
    spent = in_ms(tokenize_ns=1, queue_ns=9, run_ns=8, total_ns=13)

    assert (spent["tokenize"], spent["queue"], spent["run"], spent["rest"]) == (1, 4, 8, 0)


def test_a_server_that_counts_more_than_was_waited_is_cut() -> None:
    spent = in_ms(tokenize_ns=1, queue_ns=9, run_ns=30, total_ns=50)

    assert (spent["network"], spent["tokenize"], spent["queue"], spent["run"]) == (0, 1, 0, 17)


def test_a_server_without_timings_has_no_breakdown() -> None:
    assert calls(row(0, 1)).column("total_ns").tolist() == [MISSING]
    assert breakdown(calls(row(0, 1))) is None
    assert breakdown(calls(row(0, 1, total_ns=MS, code=14))) is None


@pytest.mark.parametrize(
    ("percentile", "count", "expected"),
    [
        (50, 1000, (450, 548)),  # rank 500 and 49 to either side: p45 to p55
        (90, 1000, (889, 909)),
        (99, 10_000, (9889, 9909)),
        # A window has two calls to either side at least.
        (99, 459, (452, 456)),
        (90, 44, (37, 41)),
        # Where there are so many.
        (99, 3, (0, 2)),
    ],
)
def test_a_slice_is_a_narrow_window_of_ranks(
    percentile: float, count: int, expected: tuple[int, int]
) -> None:
    ranks = about(percentile, count)

    assert (ranks.start, ranks.stop - 1) == expected


def test_the_tail_belongs_to_the_stage_that_grows_most() -> None:
    # Every call runs 10 ms; one in twenty waits up to 24 ms more and is 5 ms late at its worst.
    number = np.arange(1000)
    is_slow = number >= 950
    queue = np.where(is_slow, 24 * MS, 0)
    lag = np.where(is_slow, 5 * MS, 0)
    latency = lag + queue + 12 * MS + number
    rows = many(
        number,
        latency,
        sent_ns=number + lag,
        queue_ns=queue,
        run_ns=10 * MS,
        total_ns=queue + 11 * MS,
    )

    found = breakdown(rows)

    assert found is not None
    assert found.timed == 1000
    assert [one.percentile for one in found.slices] == [50, 90, 95, 99]
    for one in found.slices:
        assert sum(one.stages.values()) == pytest.approx(one.latency)
    assert found.tail_owner == "queue"
    assert found.tail_text == "p99 is about 41 ms, 29 ms above the median; 24 ms of that is queue"
    assert found.stages["run"].p99 == 10_000


def test_an_even_latency_has_no_tail() -> None:
    number = np.arange(459)
    found = breakdown(many(number, np.full(459, 2 * MS), total_ns=MS))

    assert found is not None
    assert found.tail_owner == ""
    assert found.tail_text == "p99 is about 2.0 ms, hardly above the median of 2.0 ms"


def test_few_calls_show_no_tail() -> None:
    found = breakdown(calls(*[row(at, 2, total_ns=MS) for at in range(8)]))

    assert found is not None
    assert [one.percentile for one in found.slices] == [50]
    assert (found.tail_owner, found.tail_text) == (
        "", "too few timed calls for a tail: p90 needs 44"
    )  # fmt: skip


def test_waiting_in_the_generator_is_named_as_such() -> None:
    # All due at once: the later a call is sent, the less it waits for the others.
    number = np.arange(1000)
    rows = many(
        np.zeros(1000, np.int64),
        number * MS + 2000 * MS - number * MS // 2,
        sent_ns=number * MS,
        total_ns=np.full(1000, MS),
    )

    found = breakdown(rows)

    assert found is not None
    assert found.tail_owner == "lag"
    assert found.tail_text == (
        "p99 is about 2.49 s, 245 ms above the median; all of that is lag, before the call was sent"
    )
