"""Everything that a run found, as one value. `report.json` is this value."""

from typing import Literal

import msgspec

from loadtest.analysis.figures import (
    Bound,
    Breakdown,
    Clocks,
    PhaseFigures,
    RequestFigures,
    Series,
    TelemetryFigures,
    Throughput,
    Verdict,
)
from loadtest.scenario.schema import AnyScenario
from loadtest.telemetry.samples import Telemetry

SCHEMA_VERSION = 2


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """One sending process, for whoever repeats the run."""

    worker: int
    host: str
    connections: int
    channel_options: dict[str, int]
    payloads: int
    calls: int
    calls_per_s: float
    cpu_cores: float
    cpu_us_per_call: float
    # None where it sent too few calls to claim it.
    lag_p99_us: float | None
    most_in_flight: int
    # It sent at real-time priority.
    is_realtime: bool
    clock_error_us: float


class Lateness(msgspec.Struct, frozen=True, kw_only=True):
    """How late the generator was, as far as it was looked at often enough to claim it."""

    of: Literal["sends", "timers"]
    samples: int
    p50: float | None
    p99: float | None
    max: float | None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    schema_version: int = SCHEMA_VERSION
    name: str
    # As resolved, without the recorded arrivals of a replay and the lengths of a file.
    scenario: AnyScenario
    target: str
    model: str
    started_at: str
    measured_s: float
    versions: dict[str, str]
    machine: dict[str, str]
    workers: tuple[Worker, ...]
    verdict: Verdict
    # None when the scenario asks for none.
    bound: Bound | None
    latency_us: Clocks
    throughput: Throughput
    codes: dict[str, int]
    errors: dict[str, int]
    lag_us: Lateness
    phases: tuple[PhaseFigures, ...]
    requests: tuple[RequestFigures, ...]
    # None when no answer carried timings.
    breakdown: Breakdown | None
    in_flight_quarters: tuple[float, float, float, float]
    # Latency from schedule: lower edge, width, count.
    histogram_us: list[tuple[int, int, int]]
    series: Series
    telemetry: TelemetryFigures
    samples: Telemetry
