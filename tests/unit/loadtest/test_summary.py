import numpy as np
import pytest
from load_rows import MS, S, calls, row

from loadtest.analysis import summary
from loadtest.analysis.figures import Lag
from loadtest.analysis.requests import requests
from loadtest.analysis.window import Window
from loadtest.record.histogram import Histogram
from loadtest.record.row import WARMUP
from loadtest.scenario.requests import Request
from loadtest.scenario.schema import Closed, Offline, Open, Replay


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
        row(0, 1500),  # due before, ended inside
        row(1200, 100, texts=4, tokens=40),
        row(1400, 100, code=14),
        row(1900, 200),  # due inside, ended after
    )

    flow = summary.throughput(rows, Window(S, 2 * S))

    assert (flow.offered_per_s, flow.completed_per_s) == (3, 3)
    assert (flow.requests_per_s, flow.texts_per_s, flow.tokens_per_s) == (2, 5, 50)


def test_what_counts_was_due_in_the_window() -> None:
    rows = calls(row(900, 200, phase=WARMUP), row(1000, 1), row(1999, 500), row(2000, 1))

    assert Window(S, 2 * S).due(rows).column("index").tolist() == [1, 2]


def test_the_last_answer_of_an_offline_run_counts() -> None:
    rows = calls(row(1000, 200), row(1000, 1000))

    window = Window.of(Offline(calls=2), S, 2 * S)

    assert summary.throughput(rows, window).requests_per_s == pytest.approx(2)
    assert Window.of(Closed(in_flight=1), S, 2 * S) == Window(S, 2 * S)


def test_a_first_response_is_a_streams_own() -> None:
    rows = calls(row(0, 9, first_ns=2 * MS, request=1), row(0, 5), row(0, 7, code=4, request=1))
    mix = (Request(), Request(rpc="embed-stream"))

    clocks = summary.clocks(rows, mix)

    assert clocks.from_schedule.samples == clocks.from_send.samples == 2
    assert clocks.first_response is not None
    assert (clocks.first_response.samples, clocks.first_response.max) == (1, 2000)
    assert summary.clocks(rows, mix[:1]).first_response is None


@pytest.mark.parametrize("scenario", [Open(rate=1), Replay()])
def test_arrivals_are_late_when_they_are_sent_late(scenario: Open | Replay) -> None:
    rows = calls(row(0, 9, late_ms=9), row(1000, 9, late_ms=4), probes=[(S, 3 * MS)])

    assert summary.lag(rows, scenario, Window(S, 2 * S)) == Lag("sends", 4000, 4000, 4000)


@pytest.mark.parametrize("scenario", [Closed(in_flight=1), Offline(calls=1)])
def test_elsewhere_timers_tell_of_lateness(scenario: Closed | Offline) -> None:
    rows = calls(row(1000, 9, late_ms=4), probes=[(0, 9 * MS), (S, 3 * MS)])

    assert summary.lag(rows, scenario, Window(S, 2 * S)) == Lag("timers", 3000, 3000, 3000)


def test_nothing_is_not_late() -> None:
    assert summary.lag(calls(), Open(rate=1), Window(0, S)) == Lag("sends", 0, 0, 0)


def test_in_flight_is_a_time_average() -> None:
    rows = calls(row(0, 500), row(0, 1000))

    assert summary.in_flight(rows, 0, S) == pytest.approx(1.5)
    assert summary.in_flight_quarters(rows, Window(0, S)) == (2, 2, 1, 1)
    assert summary.in_flight(rows, S, S) == 0


def test_every_kind_of_call_has_its_own_figures() -> None:
    rows = calls(row(0, 5, texts=3), row(0, 7, request=1, code=14), row(0, 9, request=1, texts=2))
    mix = (Request(), Request(rpc="tokenize", model="other"))

    embed, tokenize = requests(rows, mix, "mine")

    assert (embed.rpc, embed.model, embed.calls, embed.errors, embed.texts) == (
        "embed", "mine", 1, 0, 3
    )  # fmt: skip
    assert (tokenize.model, tokenize.calls, tokenize.errors, tokenize.texts) == ("other", 2, 1, 2)
    assert tokenize.latency_us.max == 9000
