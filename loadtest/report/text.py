"""Sentences about a run that every format says alike."""

from datetime import datetime
from typing import Final

from loadtest.analysis.figures import Bound, Latency, Verdict
from loadtest.report import words
from loadtest.report.model import Report

# Tiles have room for three percentiles.
_HEADLINE: Final = ("p50", "p95", "p99")


def bound(found: Bound) -> str:
    """Return what was asked of a percentile and what was seen."""
    name = f"p{found.percentile:g}"
    asked = f"{name} under {words.duration(found.bound)}"
    seen = f"{words.count(found.over)} of {words.plural(found.samples, 'call')} over it"
    if found.allowed_over is None:
        return f"{asked}: {seen}, too few calls to tell"
    may = f"{words.count(found.allowed_over)} may be at 99 % confidence"
    return f"{asked}: {seen}, {may}"


def held(verdict: Verdict) -> str:
    """Return which rules held."""
    broken = {reason.rule for reason in verdict.reasons}
    rules = [rule for rule in verdict.checked if rule not in broken]
    if not rules:
        return ""
    return f"{'Rules' if verdict.valid else 'Other rules'} that held: {', '.join(rules)}."


def headline(latency: Latency) -> list[tuple[str, str]]:
    """Return the percentiles to show first, p99.9 too where it has its samples."""
    names = _HEADLINE if latency.p999 is None else (*_HEADLINE, "p999")
    return [(name, words.LABELS[name]) for name in names]


def errors(report: Report) -> str:
    """Return the share of calls that were not answered."""
    calls = sum(report.codes.values())
    failed = calls - report.codes.get("OK", 0)
    return words.share(failed, calls)


def started(report: Report) -> str:
    """Return when instant 0 was, to the second."""
    return f"{datetime.fromisoformat(report.started_at):%Y-%m-%d %H:%M:%S %Z}"
