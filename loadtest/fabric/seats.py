"""What is known of each worker of a run, and what all of it comes to when the run is over."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from loadtest.errors import RunFailed
from loadtest.fabric.clock import Offset
from loadtest.fabric.outcome import WorkerShare
from loadtest.fabric.words import Batch, Ended, Prepared
from loadtest.record.calls import Calls, merge
from loadtest.record.row import ROW
from loadtest.sender.order import Done

_NS_PER_S = 1_000_000_000
_SAME_CLOCK = Offset(0, 0)


@dataclass
class Seat:
    """One worker of a run."""

    prepared: Prepared | None = None
    offset: Offset = _SAME_CLOCK
    error_ns: int = 0
    """How far its instant 0 may be from the others'."""
    batches: list[Batch] = field(default_factory=list)
    ended: Ended | None = None
    is_gone: bool = False

    @property
    def is_sending(self) -> bool:
        """It has neither ended nor been lost."""
        return self.ended is None and not self.is_gone

    @property
    def missing_rows(self) -> int:
        """Rows that it told of and that never came."""
        return self.ended.rows - sum(len(b.rows) for b in self.batches) if self.ended else 0

    def calls(self) -> Calls:
        """Return what it recorded."""
        rows = np.concatenate([np.zeros(0, ROW), *(batch.rows for batch in self.batches)])
        probes = np.concatenate([np.zeros((0, 2), np.int64), *(b.probes for b in self.batches)])
        return Calls(rows, probes[:, 0], probes[:, 1])


def calls_of(seats: Sequence[Seat]) -> Calls:
    """Return the calls of all workers as one run.

    Raises:
        RunFailed: two of them sent the same one.
    """
    try:
        return merge([seat.calls() for seat in seats])
    except ValueError as error:
        raise RunFailed(f"{error}: are all of them the same version of heed-load?") from error


def dones(seats: Sequence[Seat]) -> list[Done]:
    """Return the last words of those that had any."""
    return [seat.ended.done for seat in seats if seat.ended is not None]


def errors_of(seats: Sequence[Seat]) -> dict[str, int]:
    """Return the texts of failed calls with counts, the most frequent first."""
    total: Counter[str] = Counter()
    for done in dones(seats):
        total.update(done.errors)
    return dict(total.most_common())


def shares(seats: Sequence[Seat]) -> tuple[WorkerShare, ...]:
    """Return what each worker contributed; of one that was lost only what it said before."""
    found = []
    for worker, seat in enumerate(seats):
        if seat.prepared is None:
            continue
        ready = seat.prepared.ready
        done = seat.ended.done if seat.ended else None
        found.append(
            WorkerShare(
                worker=worker,
                host=seat.prepared.host,
                connections=ready.connections,
                channel_options=ready.channel_options,
                payloads=ready.payloads,
                cpu_s=done.cpu_s if done else 0.0,
                most_in_flight=done.most_in_flight if done else 0,
                is_realtime=ready.is_realtime,
                clock_error_s=seat.error_ns / _NS_PER_S,
            )
        )
    return tuple(found)
