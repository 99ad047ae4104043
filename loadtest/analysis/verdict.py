"""Whether a run's numbers may be believed, and if not, why and what to change.

Pure: evidence in, verdict out. Each rule stands alone and says what it saw; none looks at
whether a latency is good, only at whether it was measured.
"""

import math
from collections.abc import Callable
from typing import Final

from loadtest.analysis.confidence import minimum_samples
from loadtest.analysis.evidence import Evidence
from loadtest.analysis.figures import Reason, Verdict
from loadtest.analysis.warnings import warnings

PUNCTUAL_US: Final = 500.0
"""A generator may be this late and still be called punctual."""
LAG_SHARE: Final = 0.05
"""And this share of the latency it reports, whichever is more."""
KEEPS_UP: Final = 0.99
"""Of the calls that were due, so many must have ended in the measured time."""
GROWTH_FLOOR: Final = 5.0
"""Calls that a steady queue may gain between two quarters by chance."""
LEAST_S: Final = 2.0
"""A shorter time shows nothing: what machines and servers do once a second (collecting garbage,
changing clock frequency, being scraped, writing logs) may not have happened once."""
TURNS: Final = 20
"""The measured time must hold so many mean latencies: then the calls that cross its edges are no
more than one in twenty. (Offline, where all calls are due at once, has no such edges.)"""
ORDERED: Final = 0.999
"""A run lasted as ordered from this share on; clocks are read after the fact."""


def judge(evidence: Evidence) -> Verdict:
    """Apply every rule that fits the kind of load."""
    reasons: list[Reason] = []
    rules = _rules(evidence)
    for rule in rules.values():
        reasons += rule(evidence)
    bound_us = lag_bound_us(evidence.p99_us)
    return Verdict(not reasons, tuple(reasons), tuple(rules), warnings(evidence, bound_us))


def lag_bound_us(p99_us: float) -> float:
    """Return how late the generator may be at its 99th percentile."""
    return max(PUNCTUAL_US, LAG_SHARE * p99_us)


def _rules(evidence: Evidence) -> dict[str, Callable[[Evidence], list[Reason]]]:
    """Return the rules that apply, by name."""
    rules: dict[str, Callable[[Evidence], list[Reason]]] = {
        "undisturbed": _undisturbed,
        "duration": _duration,
        "samples": _samples,
        "errors": _errors,
        "lag": _lag,
    }
    if evidence.kind in {"open", "replay"}:
        rules["keeps-up"] = _keeps_up
    if evidence.is_steady_rate:
        rules["steady"] = _steady
    if evidence.restarts is not None:
        rules["restarts"] = _restarts
    return rules


def _undisturbed(evidence: Evidence) -> list[Reason]:
    advice = "let the run end by itself; lower the load if it stopped itself"
    return [Reason("undisturbed", text, advice) for text in evidence.disturbances]


def _duration(evidence: Evidence) -> list[Reason]:
    measured_s, ordered_s = evidence.measured_s, evidence.ordered_s
    if ordered_s is not None and measured_s < ORDERED * ordered_s:
        text = f"{measured_s:.3f} s were measured of the {ordered_s:.4g} s ordered"
        return [Reason("duration", text, "let the run end by itself")]
    longer = "more calls (--calls)" if evidence.kind == "offline" else "a longer run (--duration)"
    if measured_s < LEAST_S:
        text = f"{measured_s:.3g} s were measured; less than {LEAST_S:g} s shows nothing"
        return [Reason("duration", text, f"order {longer}")]
    turns_s = TURNS * evidence.mean_us / 1e6
    if evidence.kind != "offline" and measured_s < turns_s:
        text = (
            f"{measured_s:.3g} s were measured while a call took {evidence.mean_us / 1e6:.3g} s"
            f" on average; {TURNS} times as long ({turns_s:.3g} s) must be"
        )
        return [Reason("duration", text, f"order {longer}, or a load with shorter answers")]
    return []


def _samples(evidence: Evidence) -> list[Reason]:
    needed = minimum_samples(evidence.percentile)
    if evidence.samples >= needed:
        return []
    text = f"p{evidence.percentile:g} needs {needed} answered calls, there were {evidence.samples}"
    advice = "run longer (--duration) or claim a lower percentile (--percentile)"
    return [Reason("samples", text, advice)]


def _errors(evidence: Evidence) -> list[Reason]:
    ended = evidence.samples + evidence.errors
    if evidence.errors <= evidence.max_error_rate * ended:
        return []
    allowed = f"{evidence.max_error_rate:.2%} may" if evidence.max_error_rate else "none may"
    text = f"{evidence.errors} of {ended} calls failed; {allowed}"
    advice = "look at the errors by code: a failed call is often faster than an answered one"
    return [Reason("errors", text, advice)]


def _lag(evidence: Evidence) -> list[Reason]:
    bound = lag_bound_us(evidence.p99_us)
    if evidence.lag_p99_us <= bound:
        return []
    advice = (
        "use more sending processes (--workers), lower the load, or give the generator a core"
        " that nothing else uses"
    )
    if evidence.kind in {"open", "replay"} and not all(one.is_realtime for one in evidence.workers):
        advice += "; or let it take real-time priority (as root, or with CAP_SYS_NICE)"
    text = (
        f"the generator was {evidence.lag_p99_us / 1000:.2f} ms late at p99;"
        f" {bound / 1000:.2f} ms may be"
    )
    return [Reason("lag", text, advice)]


def _keeps_up(evidence: Evidence) -> list[Reason]:
    missing = evidence.offered - evidence.completed
    # Calls in flight at either edge of the measured time count once too often or once too
    # rarely; their number varies about its mean as a Poisson variable does.
    mean_in_flight = sum(evidence.in_flight_quarters) / len(evidence.in_flight_quarters)
    edge = 1 + 3 * math.sqrt(mean_in_flight)
    if missing <= max((1 - KEEPS_UP) * evidence.offered, edge):
        return []
    text = (
        f"{evidence.completed} calls ended while {evidence.offered} were due"
        f" ({evidence.completed / evidence.offered:.1%}; {KEEPS_UP:.0%} must)"
    )
    slower = "replay at a lower speed" if evidence.kind == "replay" else "lower --rate"
    return [Reason("keeps-up", text, f"the rate is above what the server can do: {slower}")]


def _steady(evidence: Evidence) -> list[Reason]:
    first, second, third, last = evidence.in_flight_quarters
    is_rising = first < second < third < last
    if not is_rising or last <= 2 * first or last - first < GROWTH_FLOOR:
        return []
    text = f"calls in flight grew from {first:.1f} to {last:.1f} and never settled"
    advice = "the queue has no end: lower --rate, or run longer to see where it settles"
    return [Reason("steady", text, advice)]


def _restarts(evidence: Evidence) -> list[Reason]:
    if not evidence.restarts:
        return []
    times = "once" if evidence.restarts == 1 else f"{evidence.restarts} times"
    text = f"the server's process went or began anew {times} during the run"
    return [Reason("restarts", text, "see the server's log for why; run again")]
