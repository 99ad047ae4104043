import numpy as np
import pytest

from loadtest import summary
from loadtest.histogram import Histogram
from loadtest.record import MISSING, Call, Calls, Recording

MS = 1_000_000
S = 1_000_000_000


def calls(*rows: Call) -> Calls:
    recording = Recording()
    for row in rows:
        recording.append(row)
    return recording.calls()


def call(at_ms: float, took_ms: float, code: int = 0, late_ms: float = 0, texts: int = 1) -> Call:
    at = round(at_ms * MS)
    return Call(at, at + round(late_ms * MS), at + round(took_ms * MS), code, 0, texts, 10 * texts)


def test_latency_runs_from_the_schedule_and_lag_is_its_part() -> None:
    rows = calls(call(0, took_ms=12, late_ms=5))

    assert rows.latency_ns.tolist() == [12 * MS]
    assert rows.send_latency_ns.tolist() == [7 * MS]
    assert rows.lag_ns.tolist() == [5 * MS]


def test_percentiles_without_samples_are_not_claimed() -> None:
    latency = summary.latency(Histogram.of_ns(np.full(100, MS // 5, dtype=np.int64)))

    assert (latency.p50, latency.p95, latency.p99) == (200, 200, None)
    assert latency.needed["p99"] == 459
    assert latency.upper == {"p95": 200, "p99": None, "p999": None}


def test_latency_of_nothing_claims_nothing() -> None:
    latency = summary.latency(Histogram())

    assert (latency.samples, latency.mean, latency.p50, latency.max) == (0, None, None, None)


def test_throughput_counts_what_ended_inside_the_window() -> None:
    rows = calls(
        call(0, took_ms=1500),  # due before, ended inside
        call(1200, took_ms=100, texts=4),
        call(1400, took_ms=100, code=14),
        call(1900, took_ms=200),  # due inside, ended after
    )

    flow = summary.throughput(rows, summary.Window(S, 2 * S))

    assert (flow.offered_per_s, flow.completed_per_s) == (3, 3)
    assert (flow.requests_per_s, flow.texts_per_s, flow.tokens_per_s) == (2, 5, 50)


def test_in_flight_is_a_time_average() -> None:
    rows = calls(call(0, took_ms=500), call(0, took_ms=1000))

    assert summary.in_flight(rows, 0, S) == pytest.approx(1.5)
    assert summary.in_flight_quarters(rows, summary.Window(0, S)) == (2, 2, 1, 1)


def test_stages_add_up_to_the_latency() -> None:
    row = call(0, took_ms=20, late_ms=2)._replace(
        tokenize_ns=1 * MS, queue_ns=5 * MS, run_ns=6 * MS, total_ns=13 * MS
    )

    means = {name: stage.mean for name, stage in summary.stages(calls(row)).items()}

    assert means == {
        "lag": 2000,
        "tokenize": 1000,
        "queue": 5000,
        "run": 6000,
        "server": 1000,
        "outside": 5000,
    }


def test_a_server_without_timings_has_no_stages() -> None:
    assert calls(call(0, 1)).total_ns.tolist() == [MISSING]
    assert summary.stages(calls(call(0, 1))) == {}
