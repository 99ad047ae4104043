"""Sentences about a search or a sweep, the same in every format. Pure."""

from collections.abc import Sequence

from loadtest.report import words
from loadtest.search.model import Capacity, Point, Probe
from loadtest.search.peak import End


def capacity(
    end: End, tried: Sequence[Probe], claim: str, confirmations: int, workers: int
) -> tuple[str, str]:
    """Return what a search came to, and what to do about it; `claim` is "p99 under 50 ms"."""
    if end.reason == "unclear":
        return _unclear(end, tried)
    rate = f"{words.rate(end.rate)} calls/s"
    runs = f"all {confirmations} runs" if confirmations > 1 else "1 more run"
    held = [one.rate for one in tried if one.outcome == "holds"]
    once = f"; {words.rate(max(held))}/s held {claim} once" if held else ""
    said = {
        "found": (f"{rate} hold {claim}, in {runs} under new seeds", ""),
        "highest": (
            f"{rate} hold {claim}, in {runs}; no higher rate was looked for",
            "raise --to to look further",
        ),
        "none": (
            f"even {rate} do not hold {claim}",
            "raise --bound-ms, or see the runs' reports for what takes so long",
        ),
        "unconfirmed": (
            f"no rate held {claim} in {runs}; the last that was tried was {rate}",
            "latency varies from run to run: see what else runs there, or give a longer --duration",
        ),
        "generator": (
            f"the generator, not the server, is the limit at {words.rate(end.rate)}/s{once}",
            f"use --workers {2 * workers}, or other machines (heed-load worker)",
        ),
        "too-long": (
            f"a run at {rate} would take too long{once}",
            "raise --max-duration, or claim a lower --percentile",
        ),
    }
    return said[end.reason]


def _unclear(end: End, tried: Sequence[Probe]) -> tuple[str, str]:
    reasons = tried[-1].run.reasons
    what = "; ".join(reason.text for reason in reasons) or "its verdict cannot be told"
    text = f"the run at {words.rate(end.rate)}/s says nothing about the server: {what}"
    return text, reasons[0].advice if reasons else "run the search again"


def step(probe: Probe, percentile: float) -> str:
    """Return what one run of a search said."""
    says = {
        "holds": "holds",
        "fails": "does not hold",
        "late": "the generator was late",
        "unclear": "says nothing",
    }
    seen = f"p{percentile:g} {words.duration(probe.percentile_us)}"
    over = f"{words.plural(probe.over, 'call')} over, {words.count(probe.allowed_over)} may be"
    return f"{says[probe.outcome]}: {seen}, {over}{_reasons(probe)}"


def _reasons(probe: Probe) -> str:
    found = "; ".join(reason.text for reason in probe.run.reasons)
    return f" ({found})" if found else ""


def sweep(over: str, points: Sequence[Point], workers: int) -> tuple[str, str]:
    """Return what a sweep shows, and what to do about what it does not."""
    unit = "calls in flight" if over == "in-flight" else "calls/s"
    late = [point for point in points if point.state == "late"]
    unclear = [point for point in points if point.state == "unclear"]
    said = []
    knee = next((point for point in points if point.is_knee), None)
    if knee is not None:
        said.append(
            f"knee at {knee.level:.4g} {unit}: {words.rate(knee.run.answered_per_s)}"
            f" answered/s, mean {words.duration(knee.run.latency_us.mean)}"
        )
    full = next((point for point in points if point.is_saturation), None)
    if full is not None:
        said.append(
            f"throughput no longer grows from {full.level:.4g} {unit}:"
            f" {words.rate(full.run.answered_per_s)} answered/s"
        )
    elif points and not late:
        said.append("throughput still grows at the last level")
    advice = "" if full is not None or late else "give higher levels to see where it stops growing"
    if late:
        said.append(f"the generator, not the server, is the limit at {late[0].level:.4g} {unit}")
        advice = f"use --workers {2 * workers}, or other machines (heed-load worker)"
    if unclear:
        reasons = "; ".join(reason.text for reason in unclear[0].run.reasons)
        said.append(f"{unclear[0].level:.4g} {unit} say nothing: {reasons}")
        advice = advice or unclear[0].run.reasons[0].advice
    return "; ".join(said), advice


def claim(found: Capacity) -> str:
    """Return what was asked of every rate."""
    return bound(found.percentile, found.bound_ms)


def bound(percentile: float, bound_ms: float) -> str:
    """Return what is asked of a rate."""
    return f"p{percentile:g} under {words.duration(1000 * bound_ms)}"
