"""The rows of a run as columns, for arithmetic and for disk. Decides nothing about them.

The file is an .npz of equally long arrays named as the fields of `row.ROW`, sorted by `index`,
plus `probe_at_ns` and `probe_lag_ns` (how late a timer of the sending processes fired), plus
`schema`, a JSON text with the version and the wall-clock time of instant 0.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from loadtest.record.row import ROW, SCHEMA_VERSION, WARMUP, Column, Rows


class NotARecording(ValueError):
    """The file is not one of these, or of another schema; the text says which."""


@dataclass(frozen=True)
class Calls:
    """Rows, and how late the generator's own timers were meanwhile (instants since instant 0)."""

    rows: Rows
    probe_at_ns: Column
    probe_lag_ns: Column

    @classmethod
    def none(cls) -> "Calls":
        """Return no calls."""
        return cls(np.zeros(0, ROW), np.zeros(0, np.int64), np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> Column:
        """Return one field of every row as int64."""
        return self.rows[name].astype(np.int64)

    def where(self, mask: npt.NDArray[np.bool_]) -> "Calls":
        """Return the rows that the mask keeps, with all probes."""
        return Calls(self.rows[mask], self.probe_at_ns, self.probe_lag_ns)

    @property
    def measured(self) -> "Calls":
        """Calls that were due in the measured time."""
        return self.where(self.rows["phase"] != WARMUP)

    @property
    def answered(self) -> "Calls":
        """Calls that ended OK with an answer to the question."""
        return self.where(self.rows["code"] == 0)

    @property
    def latency_ns(self) -> Column:
        """From the scheduled instant to the end of the answer: what a caller lived through."""
        return self.column("done_ns") - self.column("scheduled_ns")

    @property
    def send_latency_ns(self) -> Column:
        """From the send to the end of the answer: hides what the generator was late by."""
        return self.column("done_ns") - self.column("sent_ns")

    @property
    def first_latency_ns(self) -> Column:
        """From the scheduled instant to the first message of the answer."""
        return self.column("first_ns") - self.column("scheduled_ns")

    @property
    def lag_ns(self) -> Column:
        """From the scheduled instant to the send."""
        return self.column("sent_ns") - self.column("scheduled_ns")

    def save(self, path: Path, began_s: float) -> None:
        """Write every row, warm-up included; `began_s` is instant 0 since the epoch."""
        schema = {
            "schema_version": SCHEMA_VERSION,
            "clock": "monotonic, ns since instant 0",
            "began_s": began_s,
        }
        np.savez_compressed(
            path,
            allow_pickle=False,
            schema=np.array(json.dumps(schema)),
            probe_at_ns=self.probe_at_ns,
            probe_lag_ns=self.probe_lag_ns,
            **{name: self.rows[name] for name in ROW.names or ()},
        )


def merge(parts: list[Calls]) -> Calls:
    """Return the calls of several processes as one run, sorted by their place in its schedule.

    Raises:
        ValueError: two of them hold the same call.
    """
    rows = np.concatenate([np.zeros(0, ROW), *(part.rows for part in parts)])
    rows = rows[np.argsort(rows["index"], kind="stable")]
    if len(rows) and (np.diff(rows["index"]) == 0).any():
        raise ValueError("two workers sent the same call of the schedule")
    at = np.concatenate([np.zeros(0, np.int64), *(part.probe_at_ns for part in parts)])
    lag = np.concatenate([np.zeros(0, np.int64), *(part.probe_lag_ns for part in parts)])
    order = np.argsort(at, kind="stable")
    return Calls(rows, at[order], lag[order])


def load(path: Path) -> Calls:
    """Read the calls of a saved run.

    Raises:
        NotARecording: the file is something else, or of another schema.
    """
    try:
        # Opened here: numpy forgets to close what turns out not to be an archive.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            version = json.loads(str(file["schema"]))["schema_version"]
            if version != SCHEMA_VERSION:
                raise NotARecording(f"{path}: schema {version}, this reads {SCHEMA_VERSION}")
            rows = np.zeros(len(file["index"]), ROW)
            for name in ROW.names or ():
                rows[name] = file[name]
            return Calls(rows, file["probe_at_ns"], file["probe_lag_ns"])
    except (OSError, EOFError, BadZipFile, KeyError, TypeError, ValueError) as error:
        if isinstance(error, NotARecording):
            raise
        raise NotARecording(f"{path} is not a recording of calls: {error}") from error
