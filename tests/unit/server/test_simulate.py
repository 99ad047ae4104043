"""The figures of a replay, against ones worked out by hand."""

from dataclasses import replace

import pytest

from server.batching.arrivals import Arrival
from server.batching.cost import Cost
from server.batching.outcome import Outcome, outcome
from server.batching.plan import packed, padded
from server.batching.replay import Service, replay
from server.batching.request_queue import QueueLimits
from server.config import ServerConfig
from server.errors import ConfigInvalid
from server.simulate import describe, simulate

COST = Cost(run_s=1.0, token_s=0.1)
ALONE = Service("one", padded(1), 1, COST, QueueLimits(100, 1000), num_threads=1)


def arrivals(*requests: tuple[float, int, int]) -> list[Arrival]:
    """Requests of one sequence: when, how long, which priority."""
    return [Arrival(when, "model", (length,), level, None) for when, length, level in requests]


def played(recorded: list[Arrival], service: Service) -> Outcome:
    return outcome(replay(recorded, service), service)


def test_two_requests_one_after_the_other() -> None:
    # Runs from 10 to 12 and from 12 to 15.
    told = played(arrivals((10, 10, 1), (10, 20, 2)), ALONE)

    assert told.fates["served"] == 2
    assert (told.num_runs, told.sequences_per_run, told.padding_share) == (2, 1.0, 0.0)
    assert told.utilisation == pytest.approx(1.0)
    assert told.overhead_share == pytest.approx(5 / 3 - 1)
    assert told.delays.mean_s == pytest.approx(3.5)
    assert [told.delays.p50_s, told.delays.max_s] == [pytest.approx(2), pytest.approx(5)]
    # Speeds: 2 s of work in 2 s, 3 s of work in 5 s.
    assert told.jain_index == pytest.approx(1.6**2 / (2 * (1 + 0.36)))
    assert [(one.name, one.num_requests) for one in told.by_priority] == [
        ("priority 1", 1), ("priority 2", 1),
    ]  # fmt: skip
    assert [one.delays.mean_s for one in told.by_priority] == [pytest.approx(2), pytest.approx(5)]


def test_padding_is_counted_and_shared_rows_have_none() -> None:
    # The first is alone when it comes; the others wait for it and run together.
    recorded = arrivals((0, 99, 1), (0, 10, 1), (0, 30, 1))
    rows = played(recorded, replace(ALONE, planner=padded(2), budget=1000))
    shared = played(recorded, replace(ALONE, planner=packed(COST, 40), budget=1000))

    assert rows.padding_share == pytest.approx(1 - 139 / (99 + 2 * 30))
    assert shared.padding_share < rows.padding_share


def test_idle_time_is_not_busy() -> None:
    told = played(arrivals((0, 10, 1), (8, 10, 1)), replace(ALONE, num_threads=2))

    assert told.utilisation == pytest.approx(4 / 20)


def test_quarters_hold_equal_lengths_together() -> None:
    told = played(arrivals(*[(0, length, 1) for length in (5, 5, 5, 5, 5, 9, 12, 40)]), ALONE)

    assert [(one.name, one.num_requests) for one in told.by_length] == [
        ("1 to 5 tokens", 5), ("6 to 9 tokens", 1), ("10 to 40 tokens", 2),
    ]  # fmt: skip


def test_percentiles_are_nearest_ranks() -> None:
    told = played(arrivals(*[(100 * n, n, 1) for n in range(1, 101)]), ALONE)

    assert [told.delays.p50_s, told.delays.p90_s, told.delays.p99_s, told.delays.max_s] == [
        pytest.approx(1 + 0.1 * rank) for rank in (50, 90, 99, 100)
    ]


def test_nobody_served_is_no_error() -> None:
    told = played(arrivals((0, 2000, 1)), ALONE)

    assert (told.fates["too_large"], told.fates["served"]) == (1, 0)
    assert (told.delays.max_s, told.utilisation, told.padding_share) == (0.0, 0.0, 0.0)


def test_report_compares_policies_of_one_recording() -> None:
    recorded = arrivals(*[(0.001 * number, 8 + number % 5, 1 + number % 3) for number in range(60)])
    report = simulate(recorded, None, ServerConfig(threads=1))
    ours, *_, single = report.policies

    assert [one.policy for one in report.policies] == [
        "packed",
        "padded FIFO",
        "sorted, padded",
        "batch 1",
    ]
    assert {one.fates["served"] for one in report.policies} == {60}
    assert ours.delays.mean_s < single.delays.mean_s
    assert ours.overhead_share < single.overhead_share
    assert describe(report) == describe(simulate(recorded, None, ServerConfig(threads=1)))


def test_empty_recording_is_explained() -> None:
    with pytest.raises(ConfigInvalid, match="no requests"):
        simulate([], None, ServerConfig())
