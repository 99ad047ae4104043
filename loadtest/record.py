"""One row per call: when it was due, sent and done, how it ended, and the server's own timings.

`Recording` grows while a run goes on; `Calls` is the same rows as arrays, for arithmetic and for
disk. Nothing here decides what a number means.

The file is an .npz of equally long int64 arrays named as the fields of `Call`, plus
`probe_at_ns` and `probe_lag_ns` (the generator's own lateness, closed loop only), plus `schema`,
a JSON text with the version. Instants are nanoseconds on the monotonic clock since the run began;
-1 stands for a timing that the server did not send.
"""

import json
from array import array
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SCHEMA_VERSION = 1
MISSING = -1

Column = npt.NDArray[np.int64]


class Call(NamedTuple):
    """One call, all whole numbers. `code` is gRPC's, or WRONG_ANSWER."""

    scheduled_ns: int
    sent_ns: int
    done_ns: int
    code: int
    payload: int
    texts: int
    tokens: int
    tokenize_ns: int = MISSING
    queue_ns: int = MISSING
    run_ns: int = MISSING
    total_ns: int = MISSING


@dataclass(frozen=True)
class Calls:
    """Columns of calls, in the order in which they ended."""

    scheduled_ns: Column
    sent_ns: Column
    done_ns: Column
    code: Column
    payload: Column
    texts: Column
    tokens: Column
    tokenize_ns: Column
    queue_ns: Column
    run_ns: Column
    total_ns: Column

    def __len__(self) -> int:
        return len(self.scheduled_ns)

    def where(self, mask: npt.NDArray[np.bool_]) -> "Calls":
        """Return the rows that the mask keeps."""
        return Calls(**{field.name: getattr(self, field.name)[mask] for field in fields(self)})

    @property
    def latency_ns(self) -> Column:
        """From the scheduled instant to the answer: what a caller lived through."""
        return self.done_ns - self.scheduled_ns

    @property
    def send_latency_ns(self) -> Column:
        """From the send to the answer: hides what the generator was late by."""
        return self.done_ns - self.sent_ns

    @property
    def lag_ns(self) -> Column:
        """From the scheduled instant to the send."""
        return self.sent_ns - self.scheduled_ns


class Recording:
    """Rows as they come. Appending is the only work done while a run is hot."""

    def __init__(self) -> None:
        self._columns = tuple(array("q") for _ in Call._fields)
        self._probe_at_ns = array("q")
        self._probe_lag_ns = array("q")

    def append(self, call: Call) -> None:
        """Keep one call."""
        for column, value in zip(self._columns, call, strict=True):
            column.append(value)

    def append_probe(self, at_ns: int, lag_ns: int) -> None:
        """Keep one sample of how late a timer of the generator fired."""
        self._probe_at_ns.append(at_ns)
        self._probe_lag_ns.append(lag_ns)

    def calls(self) -> Calls:
        """Return a copy of everything so far."""
        return Calls(*(np.array(column, dtype=np.int64) for column in self._columns))

    def probes(self) -> tuple[Column, Column]:
        """Return instants and lateness of the generator's timer."""
        return (
            np.array(self._probe_at_ns, dtype=np.int64),
            np.array(self._probe_lag_ns, dtype=np.int64),
        )

    def save(self, path: Path) -> None:
        """Write every row, warm-up included."""
        calls = self.calls()
        columns = {name: getattr(calls, name) for name in Call._fields}
        probe_at_ns, probe_lag_ns = self.probes()
        schema = json.dumps({"schema_version": SCHEMA_VERSION, "clock": "monotonic ns since start"})
        np.savez_compressed(
            path,
            allow_pickle=False,
            schema=np.array(schema),
            probe_at_ns=probe_at_ns,
            probe_lag_ns=probe_lag_ns,
            **columns,
        )


def load(path: Path) -> Calls:
    """Read the calls of a saved run; refuse a file of another schema."""
    with np.load(path, allow_pickle=False) as file:
        version = json.loads(str(file["schema"]))["schema_version"]
        if version != SCHEMA_VERSION:
            raise ValueError(f"{path}: schema {version}, this reads {SCHEMA_VERSION}")
        return Calls(*(file[name] for name in Call._fields))
