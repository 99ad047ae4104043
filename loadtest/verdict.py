"""Whether a run's numbers may be believed, and if not, why and what to change.

Pure: evidence in, verdict out. Each rule stands alone and says what it saw; none looks at
whether a latency is good, only at whether it was measured.
"""

import math
from typing import Literal

import msgspec

from loadtest.confidence import minimum_samples

# A generator may be this late and still be called punctual: what a gevent timer does when idle.
PUNCTUAL_US = 500.0
# And this share of the latency it reports, whichever is more.
LAG_SHARE = 0.05
KEEPS_UP = 0.99
# Calls that a steady queue may gain between two quarters by chance.
GROWTH_FLOOR = 5.0


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules look at. Latencies and lag in us, rates in calls per second."""

    kind: Literal["closed", "open"]
    percentile: float
    samples: int
    errors: int
    max_error_rate: float
    p99_us: float
    lag_p99_us: float
    offered: int
    completed: int
    # Mean calls in flight in each quarter of the measured time.
    in_flight_quarters: tuple[float, float, float, float]
    disturbances: tuple[str, ...] = ()


class Reason(msgspec.Struct, frozen=True):
    """A rule that did not hold, what it saw, and what would help."""

    rule: Literal["undisturbed", "samples", "errors", "lag", "keeps-up", "steady"]
    text: str
    advice: str


class Verdict(msgspec.Struct, frozen=True):
    """VALID without reasons, INVALID with all of them."""

    valid: bool
    reasons: tuple[Reason, ...]

    @property
    def word(self) -> str:
        """The verdict in one word."""
        return "VALID" if self.valid else "INVALID"


def judge(evidence: Evidence) -> Verdict:
    """Apply every rule; an open loop answers for three more than a closed one."""
    reasons = [*_disturbances(evidence), _samples(evidence), _errors(evidence)]
    if evidence.kind == "open":
        reasons += [_lag(evidence), _keeps_up(evidence), _steady(evidence)]
    found = tuple(reason for reason in reasons if reason is not None)
    return Verdict(not found, found)


def lag_bound_us(p99_us: float) -> float:
    """Return how late the generator may be at its 99th percentile."""
    return max(PUNCTUAL_US, LAG_SHARE * p99_us)


def _disturbances(evidence: Evidence) -> list[Reason]:
    advice = "let the run end by itself; lower the load if it stopped itself"
    return [Reason("undisturbed", text, advice) for text in evidence.disturbances]


def _samples(evidence: Evidence) -> Reason | None:
    needed = minimum_samples(evidence.percentile)
    if evidence.samples >= needed:
        return None
    return Reason(
        "samples",
        f"p{evidence.percentile:g} needs {needed} answered calls, there were {evidence.samples}",
        "run longer (--duration) or claim a lower percentile in the scenario",
    )


def _errors(evidence: Evidence) -> Reason | None:
    ended = evidence.samples + evidence.errors
    if evidence.errors <= evidence.max_error_rate * ended:
        return None
    return Reason(
        "errors",
        f"{evidence.errors} of {ended} calls failed; {evidence.max_error_rate:.2%} may",
        "look at the errors by code: a failed call is often faster than an answered one",
    )


def _lag(evidence: Evidence) -> Reason | None:
    bound = lag_bound_us(evidence.p99_us)
    if evidence.lag_p99_us <= bound:
        return None
    return Reason(
        "lag",
        f"the generator was {evidence.lag_p99_us / 1000:.2f} ms late at p99;"
        f" {bound / 1000:.2f} ms may be",
        "lower the rate, or give the generator a core that nothing else uses",
    )


def _keeps_up(evidence: Evidence) -> Reason | None:
    missing = evidence.offered - evidence.completed
    # Calls in flight at either edge of the measured time count once too often or once too
    # rarely; their number varies about its mean as a Poisson variable does.
    mean_in_flight = sum(evidence.in_flight_quarters) / len(evidence.in_flight_quarters)
    edge = 1 + 3 * math.sqrt(mean_in_flight)
    if missing <= max((1 - KEEPS_UP) * evidence.offered, edge):
        return None
    return Reason(
        "keeps-up",
        f"{evidence.completed} calls ended while {evidence.offered} were due"
        f" ({evidence.completed / evidence.offered:.1%}; {KEEPS_UP:.0%} must)",
        "the rate is above what the server can do: lower --rate",
    )


def _steady(evidence: Evidence) -> Reason | None:
    first, second, third, last = evidence.in_flight_quarters
    is_rising = first < second < third < last
    if not is_rising or last <= 2 * first or last - first < GROWTH_FLOOR:
        return None
    return Reason(
        "steady",
        f"calls in flight grew from {first:.1f} to {last:.1f} and never settled",
        "the queue has no end: lower --rate, or run longer to see where it settles",
    )
