"""What a load run does, as a checked value. Knows the schema and its rules; reads no file.

An unknown field, or a field that belongs to another kind of load, is an error that names it.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from loadtest.scenario.lengths import Count, Positive
from loadtest.scenario.requests import Request

NotNegative = Annotated[float, Meta(ge=0)]
InFlight = Annotated[int, Meta(ge=1, le=65536)]
# Percentiles that a run can stand for; above it the sample counts leave the reach of one machine.
Percentile = Annotated[float, Meta(ge=50, le=99.99)]
Arrivals = Literal["poisson", "constant"]


class BadScenario(ValueError):
    """The scenario does not exist, does not fit the schema, or was given a foreign option."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every kind of load shares."""

    description: str = ""
    # Calls due in the first so many seconds are recorded and left out of every number.
    warmup_s: NotNegative = 5.0
    seed: Annotated[int, Meta(ge=0)] = 1
    deadline_s: Positive = 10.0
    # The highest percentile that the run must have the samples for.
    percentile: Percentile = 99.0
    # The percentile must be under it, shown at 99 % confidence; None asks for nothing.
    bound_ms: Positive | None = None
    max_error_rate: Annotated[float, Meta(ge=0, le=1)] = 0.0
    # TCP connections of each sending process.
    connections: Annotated[int, Meta(ge=1, le=1024)] = 4
    requests: Annotated[tuple[Request, ...], Meta(min_length=1)] = (Request(),)


class Closed(
    Scenario, tag_field="kind", tag="closed", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """So many calls in flight, each sent when another is answered."""

    duration_s: Positive = 30.0
    in_flight: InFlight


class Offline(
    Scenario, tag_field="kind", tag="offline", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Every call is due at the same instant; what counts is when the last one is answered."""

    calls: Count
    # Calls on the wire at the same time; the rest wait in the generator.
    in_flight: InFlight = 256


class Phase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stretch of an open loop. The rate goes in a straight line from `rate` to `to_rate`."""

    name: str = ""
    for_s: Positive
    rate: Positive
    # None: the same rate to the end.
    to_rate: Positive | None = None


class Open(
    Scenario, tag_field="kind", tag="open", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Arrivals at instants fixed before the run, whatever the server does.

    Either one rate for `duration_s`, or phases. Warm-up has the first rate.
    """

    duration_s: Positive | None = None
    # Calls per second.
    rate: Positive | None = None
    phases: tuple[Phase, ...] = ()
    arrivals: Arrivals = "poisson"
    # A safety stop, not a limit to work at: reaching it ends the run and makes it INVALID.
    max_in_flight: InFlight = 8192

    def __post_init__(self) -> None:
        if (self.rate is None) == (not self.phases):
            raise ValueError("give either rate or phases")
        if self.phases and self.duration_s is not None:
            raise ValueError("phases say how long they last; leave duration_s out")

    @property
    def stretches(self) -> tuple[Phase, ...]:
        """The phases; a plain rate is one phase."""
        if self.phases or self.rate is None:
            return self.phases
        return (Phase(for_s=self.duration_s or 30.0, rate=self.rate),)


class Arrival(msgspec.Struct, frozen=True, array_like=True):
    """One recorded request: seconds since the recording began, tokens of each text."""

    at_s: NotNegative
    lengths: Annotated[tuple[Count, ...], Meta(min_length=1)]
    # Empty: the model of the request.
    model: str = ""


class Replay(
    Scenario, tag_field="kind", tag="replay", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Arrivals and lengths as they were recorded. The first request says what is called."""

    # What `heed-serve --record-arrivals` wrote, or CSV lines `at_s,tokens`; relative to the
    # scenario's file.
    trace: str = ""
    # 2 is twice as fast.
    speed: Positive = 1.0
    max_in_flight: InFlight = 8192
    # What the trace becomes once it has been read, sorted, the first at or after 0.
    recorded: tuple[Arrival, ...] = ()


AnyScenario = Closed | Open | Offline | Replay


def span_s(scenario: AnyScenario) -> float | None:
    """Return the seconds that are measured; None where the server decides (offline)."""
    match scenario:
        case Closed():
            return scenario.duration_s
        case Open():
            return sum(phase.for_s for phase in scenario.stretches)
        case Replay():
            last = scenario.recorded[-1].at_s if scenario.recorded else 0.0
            return last / scenario.speed
        case Offline():
            return None
