"""Recording arrivals: what comes back is what came, and a bad file is said so at once."""

import errno
import math
import os
import threading
from pathlib import Path
from time import monotonic

import pytest

from server.batching import arrivals
from server.batching.arrivals import Recorder, read
from server.errors import ConfigInvalid


def test_arrivals_come_back_in_order_of_time(tmp_path: Path) -> None:
    path = tmp_path / "arrivals.jsonl"
    recorder = Recorder(path)
    recorder.record("one", [3, 4], 2, None)
    recorder.record("two", [5], 1, 0.25)
    recorder.close()

    first, second = read(path)
    assert 0 <= first.arrived_s <= second.arrived_s < 60
    assert (first.model, first.lengths, first.priority, first.deadline_s) == (
        "one",
        (3, 4),
        2,
        None,
    )
    assert (second.model, second.lengths, second.deadline_s) == ("two", (5,), 0.25)


def test_deadline_as_a_moment_is_recorded_as_time_left(tmp_path: Path) -> None:
    path = tmp_path / "arrivals.jsonl"
    recorder = Recorder(path)
    record = recorder.of_model("one")
    record([1], 1, math.inf)
    record([1], 1, monotonic() + 100)
    recorder.close()

    without, limited = read(path)
    assert without.deadline_s is None
    assert limited.deadline_s is not None
    assert 90 < limited.deadline_s <= 100


def test_second_server_adds_to_the_same_recording_on_the_same_clock(tmp_path: Path) -> None:
    path = tmp_path / "arrivals.jsonl"
    for model in ("first", "second"):
        recorder = Recorder(path)
        recorder.record(model, [1], 1, None)
        recorder.close()
        recorder.close()
        recorder.record("late", [1], 1, None)

    recorded = read(path)
    assert [one.model for one in recorded] == ["first", "second"]
    assert recorded[0].arrived_s < recorded[1].arrived_s


def test_recording_is_written_while_the_server_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = threading.Event()
    write = os.write

    def watched(file: int, data: bytes) -> int:
        if b'"model":"one"' in data:
            written.set()
        return write(file, data)

    monkeypatch.setattr(arrivals, "FLUSH_S", 0.01)
    monkeypatch.setattr(os, "write", watched)
    recorder = Recorder(tmp_path / "arrivals.jsonl")
    recorder.record("one", [1], 1, None)

    assert written.wait(10)
    recorder.close()


@pytest.mark.parametrize("content", ["a text\n", '{"heed_arrivals": 9, "began": 1.0}\n', "\n"])
def test_file_that_is_no_recording_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "precious"
    path.write_text(content)

    with pytest.raises(ConfigInvalid, match="record-arrivals"):
        Recorder(path)
    with pytest.raises(ConfigInvalid, match="line 1"):
        read(path)
    assert path.read_text() == content


def test_file_that_cannot_be_opened_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="No such file"):
        Recorder(tmp_path / "absent" / "arrivals.jsonl")
    with pytest.raises(ConfigInvalid, match="No such file"):
        read(tmp_path / "absent")


@pytest.mark.parametrize(
    "line", ["{", '{"t": 1}', '{"t":1,"model":"one","lengths":[],"priority":1,"deadline_s":null}']
)
def test_broken_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "arrivals.jsonl"
    Recorder(path).close()
    with path.open("a") as file:
        file.write(line + "\n")

    with pytest.raises(ConfigInvalid, match="line 2"):
        read(path)


def test_full_disk_stops_the_recording_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(file: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, f"no room for {len(data)} bytes in {file}")

    recorder = Recorder(tmp_path / "arrivals.jsonl")
    recorder.record("one", [1], 1, None)
    monkeypatch.setattr(os, "write", full)
    recorder.close()
    recorder.record("one", [1], 1, None)
    recorder.close()

    assert [record.message for record in caplog.records] == ["arrivals are no longer recorded"]


def test_disk_that_never_answers_stops_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(arrivals, "MAX_UNWRITTEN", 3)
    monkeypatch.setattr(arrivals, "FLUSH_S", 60)
    recorder = Recorder(tmp_path / "arrivals.jsonl")
    for _ in range(6):
        recorder.record("one", [1], 1, None)
    recorder.close()

    assert [record.message for record in caplog.records] == ["arrivals are no longer recorded"]
