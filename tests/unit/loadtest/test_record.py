from pathlib import Path

import numpy as np
import pytest

from loadtest.record import Call, Recording, load

ROW = Call(1, 2, 3, 0, 4, 1, 34, 10, 20, 30, 70)


def test_a_saved_run_reads_back(tmp_path: Path) -> None:
    recording = Recording()
    recording.append(ROW)
    recording.append_probe(5, 6)
    path = tmp_path / "calls.npz"

    recording.save(path)

    loaded = load(path)
    assert [int(getattr(loaded, name)[0]) for name in Call._fields] == list(ROW)
    with np.load(path) as file:
        assert (file["probe_at_ns"].tolist(), file["probe_lag_ns"].tolist()) == ([5], [6])


def test_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calls.npz"
    np.savez(path, schema=np.array('{"schema_version": 99}'))

    with pytest.raises(ValueError, match="schema 99"):
        load(path)
