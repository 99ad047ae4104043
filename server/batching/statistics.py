"""Counters of one model since it was loaded, in the terms of the statistics extension.

They only grow. Written on the event loop by the batcher and the tasks, read by the RPC layer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic, time

NS = 1_000_000_000


@dataclass(slots=True)
class Duration:
    """How often something happened and how long it took in total."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float, count: int = 1) -> None:
        """Count `count` more, which took `seconds` together."""
        self.count += count
        self.ns += int(seconds * NS)


@dataclass(frozen=True, slots=True)
class RunTimes:
    """Seconds of one run: laying out the rows, inside ONNX Runtime, and taking it apart."""

    pack_s: float
    run_s: float
    scatter_s: float


@dataclass(slots=True)
class RunDurations:
    """Durations of runs, by stage."""

    pack: Duration = field(default_factory=Duration)
    run: Duration = field(default_factory=Duration)
    scatter: Duration = field(default_factory=Duration)

    def add(self, times: RunTimes, count: int = 1) -> None:
        """Count one run as `count`."""
        self.pack.add(times.pack_s, count)
        self.run.add(times.run_s, count)
        self.scatter.add(times.scatter_s, count)


@dataclass(slots=True)
class Statistics:
    """Everything counted for one model version."""

    num_sequences: int = 0
    num_runs: int = 0
    last_run_ms: int = 0
    """Wall clock, milliseconds since the epoch."""
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    cache_hit: Duration = field(default_factory=Duration)
    cache_miss: Duration = field(default_factory=Duration)
    per_sequence: RunDurations = field(default_factory=RunDurations)
    by_batch: dict[int, RunDurations] = field(default_factory=dict)

    def observe_run(self, num_sequences: int, times: RunTimes) -> None:
        """Count one finished run."""
        self.num_runs += 1
        self.num_sequences += num_sequences
        self.last_run_ms = int(time() * 1000)
        self.per_sequence.add(times, num_sequences)
        self.by_batch.setdefault(num_sequences, RunDurations()).add(times)


@contextmanager
def counted(statistics: Statistics) -> Iterator[None]:
    """Count the work inside as one success or one failure, refused and cancelled ones included."""
    started = monotonic()
    try:
        yield
    except BaseException:
        statistics.fail.add(monotonic() - started)
        raise
    statistics.success.add(monotonic() - started)
