"""What a comparison found, as one value. `compare.json` is this value."""

from typing import Literal

import msgspec

from loadtest.compare.bootstrap import Side
from loadtest.compare.decision import Decision
from loadtest.scenario.schema import AnyScenario

SCHEMA_VERSION = 1


class MetricFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One metric over all pairs. Latencies in us, throughput in answered calls per second."""

    name: str
    # Whether the comparison's verdict is this metric's.
    decides: bool
    decision: Decision
    # Geometric means over the runs; None when a run has too few answers.
    a: float | None
    b: float | None
    # B over A, and where it lies at that confidence.
    ratio: float | None
    low: float | None
    high: float | None
    level: float
    # Consecutive requests that were drawn together.
    block: int
    text: str


class RunFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One run, in the order in which they were done."""

    pair: int
    side: Side
    seed: int
    started_at: str
    # Relative to the comparison's folder, or as it was given.
    folder: str
    # How often it was run: an INVALID one is repeated.
    attempts: int
    valid: bool
    reasons: tuple[str, ...]
    answers: int
    # By the names of the metrics.
    metrics: dict[str, float | None]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """B against A."""

    schema_version: int = SCHEMA_VERSION
    name: str
    # Without the recorded arrivals of a replay and the lengths of a file.
    scenario: AnyScenario
    model: str
    # Address, command or folders.
    a: str
    b: str
    started_at: str
    verdict: Decision | Literal["INVALID"]
    text: str
    advice: str
    pairs: int
    min_effect: float
    resolve: float
    # The one that decides first; none when INVALID.
    metrics: tuple[MetricFigures, ...]
    runs: tuple[RunFigures, ...]
    warnings: tuple[str, ...]
    versions: dict[str, str]
    machine: dict[str, str]
