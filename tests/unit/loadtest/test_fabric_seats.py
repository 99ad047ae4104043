import numpy as np
import pytest

from loadtest.errors import RunFailed
from loadtest.fabric.seats import Seat, calls_of, errors_of, shares
from loadtest.fabric.words import Batch, Ended, Prepared
from loadtest.record.row import ROW
from loadtest.sender.order import Done, Ready

READY = Ready(payloads=3, connections=4, channel_options={}, scheduled=None)
PROBES = np.array([[5, 1]])


def batch(*indices: int) -> Batch:
    rows = np.zeros(len(indices), ROW)
    rows["index"] = indices
    return Batch(rows, PROBES)


def ended(rows: int, **errors: int) -> Ended:
    done = Done(
        measured_from_ns=0, end_ns=9, stopped="", cpu_s=0.5, most_in_flight=7, errors=errors
    )
    return Ended(done, rows)


def test_calls_of_all_workers_are_one_run() -> None:
    calls = calls_of([Seat(batches=[batch(4, 0), batch(2)]), Seat(batches=[batch(1, 3)]), Seat()])

    assert calls.column("index").tolist() == [0, 1, 2, 3, 4]
    assert calls.probe_at_ns.tolist() == [5, 5, 5]
    assert calls.probe_lag_ns.tolist() == [1, 1, 1]


def test_call_that_two_workers_sent_is_no_result() -> None:
    with pytest.raises(RunFailed, match="same version of heed-load"):
        calls_of([Seat(batches=[batch(0, 1)]), Seat(batches=[batch(1)])])


def test_rows_that_never_came_are_noticed() -> None:
    assert Seat(batches=[batch(0, 1)], ended=ended(5)).missing_rows == 3
    assert Seat(batches=[batch(0, 1)], ended=ended(2)).missing_rows == 0
    assert Seat(batches=[batch(0)]).missing_rows == 0


def test_errors_of_all_workers_are_counted_together() -> None:
    seats = [Seat(ended=ended(0, INTERNAL=1, ABORTED=5)), Seat(ended=ended(0, INTERNAL=9)), Seat()]

    assert list(errors_of(seats).items()) == [("INTERNAL", 10), ("ABORTED", 5)]


def test_lost_worker_keeps_its_place_among_the_shares() -> None:
    here = Prepared(READY, "here", 12, 11)
    seats = [
        Seat(prepared=Prepared(READY, "there", 2, 1), is_gone=True),
        Seat(prepared=here, ended=ended(0), error_ns=2_000_000),
    ]

    lost, kept = shares(seats)

    assert (lost.worker, lost.host, lost.cpu_s) == (0, "there", 0.0)
    assert (kept.worker, kept.host, kept.most_in_flight) == (1, "here", 7)
    assert kept.clock_error_s == 0.002
    assert [seat.is_sending for seat in seats] == [False, False]
