"""What a search or a sweep found: `capacity.json` and `sweep.json` are these values."""

from typing import Literal

import msgspec

from loadtest.analysis.figures import Latency, Reason
from loadtest.scenario.schema import AnyScenario
from loadtest.search.peak import Ended, Outcome, Stage

SCHEMA_VERSION = 1


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run: its own report is in the folder, relative to the result's."""

    folder: str
    seed: int
    started_at: str
    measured_s: float
    valid: bool
    reasons: tuple[Reason, ...]
    offered_per_s: float
    answered_per_s: float
    # From schedule.
    latency_us: Latency
    errors: int
    in_flight: float
    # None where there was nothing to judge it by.
    lag_p99_us: float | None


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One rate that was tried."""

    stage: Stage
    rate: float
    outcome: Outcome
    # The percentile that is bound, None with too few samples; calls over the bound, and how many
    # may be.
    percentile_us: float | None
    over: int
    allowed_over: int | None
    run: Run


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What was loaded, with what, and by which versions on which machine."""

    name: str
    # Without the lengths of a file. Rate, calls in flight, seed and duration are each run's own.
    scenario: AnyScenario
    target: str
    model: str
    started_at: str
    versions: dict[str, str]
    machine: dict[str, str]


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """The highest rate whose percentile from schedule stays under a bound."""

    schema_version: int = SCHEMA_VERSION
    subject: Subject
    percentile: float
    bound_ms: float
    # Confirmed by runs with new seeds; None when there is none.
    rate: float | None
    # The lowest rate above it that does not hold; None when none was seen.
    fails_at: float | None
    ended: Ended
    text: str
    advice: str
    confirmations: int
    width: float
    tried: tuple[Probe, ...]


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One level of a sweep."""

    level: float
    # The server had more to do than it could, or the generator was late, or neither.
    state: Literal["valid", "overloaded", "late", "unclear"]
    is_knee: bool
    is_saturation: bool
    run: Run


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """Throughput and latency over a load that grows."""

    schema_version: int = SCHEMA_VERSION
    subject: Subject
    over: Literal["in-flight", "rate"]
    # Levels; None where the curve does not show them.
    knee: float | None
    saturation: float | None
    text: str
    advice: str
    points: tuple[Point, ...]
