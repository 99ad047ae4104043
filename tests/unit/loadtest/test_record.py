from pathlib import Path

import numpy as np
import pytest
from load_rows import MS, S, calls, row

from loadtest.record.calls import Calls, NotARecording, load, merge
from loadtest.record.row import WARMUP


def test_a_saved_run_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "calls.npz"
    saved = calls(row(1, 2, tokens=34, queue_ns=7), row(5, 2, code=14), probes=[(5, 6)])

    saved.save(path, began_s=1.5)

    loaded = load(path)
    assert np.array_equal(loaded.rows, saved.rows)
    assert (loaded.probe_at_ns.tolist(), loaded.probe_lag_ns.tolist()) == ([5], [6])


def test_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calls.npz"
    np.savez(path, schema=np.array('{"schema_version": 99}'))

    with pytest.raises(NotARecording, match="schema 99"):
        load(path)


def test_an_array_is_not_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "calls.npy"
    np.save(path, np.zeros(3))

    with pytest.raises(NotARecording, match=r"calls\.npy"):
        load(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotARecording, match="No such file"):
        load(tmp_path / "calls.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"at_s,tokens\n"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "calls.npz"
    path.write_bytes(content)

    with pytest.raises(NotARecording, match=r"calls\.npz"):
        load(path)


def test_the_parts_of_several_workers_are_one_run() -> None:
    first = calls(row(0, 1, index=0), row(2, 1, index=2), probes=[(9, 1)])
    second = calls(row(1, 1, index=1, worker=1), probes=[(3, 2)])

    whole = merge([first, second])

    assert whole.column("index").tolist() == [0, 1, 2]
    assert whole.column("worker").tolist() == [0, 1, 0]
    assert whole.probe_at_ns.tolist() == [3, 9]
    assert len(merge([])) == len(Calls.none()) == 0


def test_a_call_that_two_workers_sent_is_an_error() -> None:
    with pytest.raises(ValueError, match="same call"):
        merge([calls(row(0, 1)), calls(row(0, 1))])


def test_latency_runs_from_the_schedule_and_lag_is_its_part() -> None:
    rows = calls(row(0, 12, late_ms=5, first_ns=8 * MS))

    assert rows.latency_ns.tolist() == [12 * MS]
    assert rows.send_latency_ns.tolist() == [7 * MS]
    assert rows.first_latency_ns.tolist() == [8 * MS]
    assert rows.lag_ns.tolist() == [5 * MS]


def test_what_warms_up_or_fails_can_be_left_out() -> None:
    rows = calls(row(0, 1, phase=WARMUP), row(S / MS, 1, code=4), row(S / MS, 2))

    assert rows.measured.column("code").tolist() == [4, 0]
    assert rows.measured.answered.latency_ns.tolist() == [2 * MS]
