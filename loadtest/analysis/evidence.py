"""What the verdict looks at, gathered from the record of a run. Pure; decides nothing."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec
import numpy as np

from loadtest.analysis.summary import in_flight_quarters, lag
from loadtest.analysis.window import NS_PER_S, Window
from loadtest.record.calls import Calls
from loadtest.record.histogram import Histogram
from loadtest.scenario.schema import AnyScenario, Closed, Offline, Open, span_s

Kind = Literal["closed", "open", "offline", "replay"]


class Share(Protocol):
    """What is known of one sending process."""

    @property
    def worker(self) -> int:
        """Its number."""

    @property
    def host(self) -> str:
        """Its machine."""

    @property
    def cpu_s(self) -> float:
        """CPU seconds from instant 0 to the end."""

    @property
    def is_realtime(self) -> bool:
        """It sent at real-time priority."""

    @property
    def clock_error_s(self) -> float:
        """How far its instant 0 may be from the others'."""


class WorkerLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What one sending process did, and what it cost; lag in us."""

    worker: int
    host: str
    calls: int
    calls_per_s: float
    cores: float
    # Of its sends; 0 where calls cannot be late (closed, offline).
    lag_p99_us: float
    is_realtime: bool
    clock_error_us: float


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules look at. Latencies and lag in us, rates in calls per second."""

    kind: Kind
    # The same rate from the first call to the last: only then must the queue settle.
    is_steady_rate: bool
    # None where the server decides (offline).
    ordered_s: float | None
    measured_s: float
    percentile: float
    samples: int
    errors: int
    max_error_rate: float
    # From schedule, whether or not there are samples to claim them; 0 without any.
    mean_us: float
    p50_us: float
    p99_us: float
    lag_p50_us: float
    lag_p99_us: float
    offered: int
    completed: int
    # Mean calls in flight in each quarter of the measured time.
    in_flight_quarters: tuple[float, float, float, float]
    disturbances: tuple[str, ...] = ()
    # None when nobody could look.
    restarts: int | None = None
    workers: tuple[WorkerLoad, ...] = ()


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """What the calls do not tell."""

    disturbances: tuple[str, ...] = ()
    restarts: int | None = None
    workers: tuple[WorkerLoad, ...] = ()


def evidence(
    calls: Calls, scenario: AnyScenario, window: Window, circumstances: Circumstances
) -> Evidence:
    """Return what a verdict on all calls of a run needs."""
    due = window.due(calls)
    answered = due.answered
    latency = Histogram.of_ns(answered.latency_ns)
    late = lag(calls, scenario, window)
    return Evidence(
        kind=kind_of(scenario),
        is_steady_rate=_has_steady_rate(scenario),
        ordered_s=span_s(scenario),
        measured_s=window.span_s,
        percentile=scenario.percentile,
        samples=len(answered),
        errors=len(due) - len(answered),
        max_error_rate=scenario.max_error_rate,
        mean_us=latency.mean,
        p50_us=latency.percentile(50) if latency.count else 0.0,
        p99_us=latency.percentile(99) if latency.count else 0.0,
        lag_p50_us=late.p50,
        lag_p99_us=late.p99,
        offered=len(due),
        completed=int(window.holds(calls.column("done_ns")).sum()),
        in_flight_quarters=in_flight_quarters(calls, window),
        disturbances=circumstances.disturbances,
        restarts=circumstances.restarts,
        workers=circumstances.workers,
    )


def workers(calls: Calls, shares: Sequence[Share], end_ns: int) -> tuple[WorkerLoad, ...]:
    """Return what each sending process did from instant 0 to the end of the run."""
    span_s = max(end_ns, 1) / NS_PER_S
    return tuple(_load(calls, share, span_s) for share in shares)


def _load(calls: Calls, share: Share, span_s: float) -> WorkerLoad:
    mine = calls.where(calls.rows["worker"] == share.worker)
    late_ns = mine.measured.lag_ns
    return WorkerLoad(
        worker=share.worker,
        host=share.host,
        calls=len(mine),
        calls_per_s=len(mine) / span_s,
        cores=share.cpu_s / span_s,
        lag_p99_us=float(np.percentile(late_ns, 99)) / 1000 if late_ns.size else 0.0,
        is_realtime=share.is_realtime,
        clock_error_us=share.clock_error_s * 1e6,
    )


def kind_of(scenario: AnyScenario) -> Kind:
    """Return the kind of load."""
    match scenario:
        case Closed():
            return "closed"
        case Open():
            return "open"
        case Offline():
            return "offline"
        case _:
            return "replay"


def _has_steady_rate(scenario: AnyScenario) -> bool:
    if not isinstance(scenario, Open):
        return False
    stretches = scenario.stretches
    rates = {rate for one in stretches for rate in (one.rate, one.to_rate or one.rate)}
    return len(rates) == 1
