"""What the report takes from a run."""

from collections import Counter

import finished_runs
import msgspec
import numpy as np
import pytest

from loadtest.fabric.outcome import Finished
from loadtest.record.row import WARMUP
from loadtest.report.build import build
from loadtest.report.model import Report
from loadtest.report.write import encode
from loadtest.scenario.lengths import FromFile
from loadtest.scenario.schema import Replay

ODD = ("silent", "nothing", "single", "stopped", "offline", "closed", "streams", "replay", "mix")


def made(name: str) -> Finished:
    run: Finished = getattr(finished_runs, name)()
    return run


def test_counts_are_those_of_the_measured_calls() -> None:
    run = made("mix")
    measured = run.calls.rows[run.calls.rows["phase"] != WARMUP]

    report = build(run)

    assert sum(report.codes.values()) == len(measured)
    assert report.codes["OK"] == report.latency_us.from_schedule.samples
    assert report.codes["WRONG_ANSWER"] == int((measured["code"] == 100).sum())
    assert sum(count for _, _, count in report.histogram_us) == report.codes["OK"]
    assert Counter(one.rpc for one in report.requests) == {"embed": 1, "rerank": 1, "infer": 1}
    assert sum(one.calls for one in report.requests) == len(measured)


def test_started_at_is_instant_0() -> None:
    assert build(made("steady")).started_at == "2026-09-21T14:13:20.250000+00:00"


def test_replay_keeps_neither_its_arrivals_nor_the_lengths_of_a_file() -> None:
    run = made("replay")
    assert isinstance(run.plan.scenario, Replay)
    assert len(run.plan.scenario.recorded) > 100

    report = build(run)

    assert isinstance(report.scenario, Replay)
    assert report.scenario.recorded == ()
    assert isinstance(report.scenario.requests[0].lengths, FromFile)
    assert report.scenario.trace == "/traces/monday.csv"


@pytest.mark.parametrize("name", ODD)
def test_report_survives_its_file(name: str) -> None:
    report = build(made(name))

    assert msgspec.json.decode(encode(report), type=Report) == report


def test_too_few_samples_leave_no_percentile_anywhere() -> None:
    report = build(made("single"))

    assert report.breakdown is not None
    for stage in report.breakdown.stages.values():
        assert (stage.p50, stage.p95, stage.p99) == (None, None, None)
    assert report.breakdown.slices == ()
    assert (report.lag_us.samples, report.lag_us.p50, report.lag_us.p99) == (1, None, None)
    assert report.lag_us.max is not None
    assert [worker.lag_p99_us for worker in report.workers] == [None, None]
    assert set(report.series.p50_us) == {None}
    assert set(report.series.lag_p50_us) == {None}


def test_slices_of_time_have_percentiles_where_they_have_the_calls() -> None:
    run = made("steady")
    report = build(run)
    due_s = run.calls.column("scheduled_ns") / 1e9
    edges = [*report.series.start_s, report.series.start_s[-1] + report.series.width_s]
    counts, _ = np.histogram(due_s, edges)

    claimed = [value is not None for value in report.series.p95_us]

    assert claimed == [count >= 90 for count in counts]
    assert any(claimed)


def test_server_that_was_not_found_cannot_have_restarted() -> None:
    assert "restarts" not in build(made("silent")).verdict.checked
    assert "restarts" in build(made("steady")).verdict.checked
