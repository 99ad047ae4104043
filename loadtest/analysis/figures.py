"""What a run showed, as values: the words that analysis, reports and searches share.

Times are in us unless the name says otherwise. A percentile is None where there are too few
samples to claim it.
"""

from typing import Literal

import msgspec


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Latencies of answered calls by one clock."""

    samples: int
    mean: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    p999: float | None
    max: float | None
    # Samples that each percentile needs at 99 % confidence with none over the bound.
    needed: dict[str, int]
    # With 99 % confidence the true percentile is not above these.
    upper: dict[str, float | None]


class Clocks(msgspec.Struct, frozen=True):
    """The same calls from the scheduled instant, from the send, and to the first response."""

    from_schedule: Latency
    from_send: Latency
    # None without streams, where it is the same as the end.
    first_response: Latency | None


class Throughput(msgspec.Struct, frozen=True):
    """Per second of the measured time. `offered` were due, `completed` ended in any way."""

    offered_per_s: float
    completed_per_s: float
    requests_per_s: float
    texts_per_s: float
    tokens_per_s: float


class Lag(msgspec.Struct, frozen=True):
    """How late the generator was: its sends (open loop, replay) or its timers (closed, offline)."""

    of: Literal["sends", "timers"]
    p50: float
    p99: float
    max: float


class Stage(msgspec.Struct, frozen=True):
    """Time in one stage over all answered calls. A report has no percentile without its samples."""

    mean: float
    p50: float | None
    p95: float | None
    p99: float | None


class Slice(msgspec.Struct, frozen=True):
    """Mean time in each stage of the calls about one percentile of latency; they sum to it."""

    percentile: float
    latency: float
    calls: int
    stages: dict[str, float]


class Breakdown(msgspec.Struct, frozen=True, kw_only=True):
    """Where client time went, from the server's account of each answer.

    Stages in order: lag, network, tokenize, queue, run, rest.
    """

    timed: int
    stages: dict[str, Stage]
    slices: tuple[Slice, ...]
    # The stage that grows most from the median to the slowest calls, and a sentence about it.
    tail_owner: str
    tail_text: str


class PhaseFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of the measured time."""

    name: str
    from_s: float
    to_s: float
    throughput: Throughput
    latency_us: Latency
    errors: int
    in_flight: float


class RequestFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of call of the mix."""

    rpc: str
    model: str
    calls: int
    errors: int
    texts: int
    latency_us: Latency


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a percentile is under its bound, by MLPerf's early-stopping test at 99 %."""

    percentile: float
    bound: float
    samples: int
    over: int
    # The most that may be over it with so many samples; None when there are too few to tell.
    allowed_over: int | None
    holds: bool


class Series(msgspec.Struct, frozen=True):
    """One value per slice of time; None where a slice has no calls."""

    width_s: float
    start_s: list[float]
    offered_per_s: list[float]
    completed_per_s: list[float]
    errors_per_s: list[float]
    in_flight: list[float]
    p50_us: list[float | None]
    p95_us: list[float | None]
    max_us: list[float | None]
    lag_p50_us: list[float | None]
    lag_max_us: list[float | None]


class ProcessFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A process over the measured time."""

    cores: float
    cpu_ms_per_call: float
    rss_first_bytes: int
    rss_last_bytes: int
    rss_most_bytes: int
    voluntary_switches_per_s: float | None
    involuntary_switches_per_s: float | None


class TelemetryFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What the sampling showed."""

    generator: ProcessFigures | None
    server: ProcessFigures | None
    host_busy_cores: float | None
    mhz_mean: float | None
    mhz_lowest: float | None
    gpu_utilisation_mean: dict[int, float]


class Reason(msgspec.Struct, frozen=True):
    """A rule that did not hold, what it saw, and what would help."""

    rule: Literal[
        "undisturbed", "duration", "samples", "errors", "lag", "keeps-up", "steady", "restarts"
    ]
    text: str
    advice: str


class Verdict(msgspec.Struct, frozen=True):
    """VALID without reasons, INVALID with all of them; `checked` names the rules applied."""

    valid: bool
    reasons: tuple[Reason, ...]
    checked: tuple[str, ...]
    # What deserves a word and does not make the run INVALID.
    warnings: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """The verdict in one word."""
        return "VALID" if self.valid else "INVALID"
