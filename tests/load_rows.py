"""Rows of a load run for tests, in milliseconds."""

from collections.abc import Sequence

import numpy as np

from loadtest.record.calls import Calls
from loadtest.record.row import MISSING, ROW, Column

MS = 1_000_000
S = 1_000_000_000

_UNSENT = ("tokenize_ns", "queue_ns", "run_ns", "total_ns", "batch_sequences", "batch_tokens")


def row(at_ms: float, took_ms: float, *, late_ms: float = 0, **fields: int) -> dict[str, int]:
    """A call due at an instant and answered so long after it; other fields by name."""
    at = round(at_ms * MS)
    done = at + round(took_ms * MS)
    return {
        **dict.fromkeys(_UNSENT, MISSING),
        "scheduled_ns": at,
        "sent_ns": at + round(late_ms * MS),
        "first_ns": done,
        "done_ns": done,
        "texts": 1,
        "tokens": 10,
        **fields,
    }


def calls(*rows: dict[str, int], probes: Sequence[tuple[int, int]] = ()) -> Calls:
    """Rows as the record of a run; `probes` are pairs of instant and lateness in ns."""
    table = np.zeros(len(rows), ROW)
    for number, fields in enumerate(rows):
        table[number]["index"] = number
        for name, value in fields.items():
            table[number][name] = value
    at, late = np.array(probes, np.int64).reshape(-1, 2).T
    return Calls(table, at, late)


def many(scheduled_ns: Column, latency_ns: Column, **fields: int | Column) -> Calls:
    """Rows from columns."""
    table = np.zeros(len(scheduled_ns), ROW)
    for name in _UNSENT:
        table[name] = MISSING
    table["index"] = np.arange(len(table))
    table["scheduled_ns"] = table["sent_ns"] = scheduled_ns
    table["first_ns"] = table["done_ns"] = scheduled_ns + latency_ns
    table["texts"] = 1
    for name, values in fields.items():
        table[name] = values
    return Calls(table, np.zeros(0, np.int64), np.zeros(0, np.int64))
