"""How much a scenario asks for, and the most that one run may be. Pure."""

import math
from typing import Final

from loadtest.scenario.schema import AnyScenario, BadScenario, Offline, Open, Replay, span_s

MAX_CALLS: Final = 20_000_000
"""At some 110 bytes a row, two gigabytes of record."""
MAX_SPAN_S: Final = 7 * 24 * 3600.0


def expected_calls(scenario: AnyScenario) -> float | None:
    """Return how many calls are due, warm-up included; None where the server decides (closed)."""
    match scenario:
        case Open():
            stretches = scenario.stretches
            means = [(phase.rate + (phase.to_rate or phase.rate)) / 2 for phase in stretches]
            planned = sum(m * phase.for_s for m, phase in zip(means, stretches, strict=True))
            return planned + stretches[0].rate * scenario.warmup_s
        case Replay():
            return len(scenario.recorded) + mean_rate(scenario) * scenario.warmup_s
        case Offline():
            return float(scenario.calls)
        case _:
            return None


def mean_rate(scenario: Replay) -> float:
    """Return calls per second of a recording at its speed; 0 where it spans no time."""
    last_s = scenario.recorded[-1].at_s if scenario.recorded else 0.0
    return (len(scenario.recorded) - 1) / last_s * scenario.speed if last_s > 0 else 0.0


def check(scenario: AnyScenario) -> None:
    """Refuse what no run could hold.

    Raises:
        BadScenario: it lasts for ever, or has too many calls.
    """
    lasts_s = (span_s(scenario) or 0.0) + scenario.warmup_s
    # Written so that NaN, which compares with nothing, is refused too.
    if not lasts_s <= MAX_SPAN_S:
        raise BadScenario(
            f"the run would last {lasts_s:g} s; {MAX_SPAN_S:g} s (a week) is the most:"
            " give a shorter duration or warm-up"
        )
    numbers = (scenario.deadline_s, scenario.percentile, scenario.bound_ms or 0.0)
    if not all(math.isfinite(number) for number in numbers):
        raise BadScenario("deadline_s, percentile and bound_ms must be finite numbers")
    calls = expected_calls(scenario)
    if calls is not None and not calls <= MAX_CALLS:
        raise BadScenario(
            f"the run would have {calls:.3g} calls; {MAX_CALLS:,} is the most:"
            " lower the rate or shorten the run"
        )
