"""Sentences about a comparison, the same in every format. Pure."""

import math
from typing import Final

from loadtest.compare.bootstrap import Interval
from loadtest.compare.decision import Limits, pairs_advised
from loadtest.compare.metrics import Finding
from loadtest.report import words

_NOTHING_PERCENT: Final = 0.05


def change(ratio: float) -> str:
    """Return a ratio B over A as a change."""
    percent = 100 * (ratio - 1)
    if abs(percent) < _NOTHING_PERCENT:
        return "the same"
    return f"{words.number(abs(percent), 2)} % {'higher' if percent > 0 else 'lower'}"


def signed(ratio: float | None) -> str:
    """Return a ratio B over A as a change for a table."""
    if ratio is None:
        return words.NOTHING
    percent = 100 * (ratio - 1)
    if abs(percent) < _NOTHING_PERCENT:
        return "0 %"
    return f"{'+' if percent > 0 else '-'}{words.number(abs(percent), 2)} %"


def span(interval: Interval, level: float) -> str:
    """Return where the change lies."""
    ends = f"{change(interval.low)} to {change(interval.high)}"
    return f"{ends} at {100 * level:.4g} % confidence"


def finding(found: Finding, limits: Limits) -> str:
    """Return what a metric came out as."""
    name = found.metric.name
    if found.interval is None:
        return (
            f"{name} needs {words.count(found.metric.needed)} answers in each run,"
            f" the one with the fewest has {words.count(found.fewest_answers)}"
        )
    says = f"{name} of B is {change(found.interval.ratio)} ({span(found.interval, found.level)})"
    if found.decision == "no difference":
        return f"{says}; more than {100 * limits.resolve:g} % either way is excluded"
    if found.decision == "not enough data":
        return f"{says}, which shows neither a difference nor that there is none"
    return says


def advice(found: Finding, limits: Limits, pairs: int) -> str:
    """Return what would decide; empty when it is decided."""
    if found.decision != "not enough data":
        return ""
    if found.interval is None:
        factor = found.metric.needed / max(found.fewest_answers, 1)
        longer = f"runs {words.number(math.ceil(10 * factor) / 10, 2)} times as long"
        lower = "" if found.metric.is_pace else ", or a lower --percentile"
        return f"give each run more answers: {longer} (--duration){lower}"
    wanted = pairs_advised(found.interval, limits, pairs)
    return (
        f"--pairs {wanted} would about do if the machine stays as it was, or longer runs"
        " (--duration) if it is the runs that vary and not the machine"
    )


def value(found_name: str, figure: float | None) -> str:
    """Return a metric's value with its unit."""
    if found_name == "throughput":
        return words.NOTHING if figure is None else f"{words.rate(figure)}/s"
    return words.duration(figure)
