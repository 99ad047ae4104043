"""Find the highest rate that holds a latency bound: runs what `peak` asks for, until it ends."""

from dataclasses import dataclass

import numpy as np

from loadtest.analysis.confidence import minimum_samples
from loadtest.errors import RunFailed
from loadtest.fabric.outcome import Finished
from loadtest.report import words
from loadtest.search import length, phrases, scenarios
from loadtest.search.model import Capacity, Probe
from loadtest.search.outcome import judge
from loadtest.search.peak import End, Rules, Trial, Tried, decide
from loadtest.search.runs import Runs, summary, was_stopped_full

# Calls in flight and seconds of the run that measures where to begin: enough to fill most
# batches, over before it bores.
_START_IN_FLIGHT = 16
_START_S = 3.0
# A search run need not be longer than this for its own sake; those that confirm are.
_SEARCH_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is looked for, and how far a search may go."""

    bound_ms: float
    # None measures where to begin.
    start: float | None
    highest: float
    width: float
    confirmations: int
    max_duration_s: float


def find(runs: Runs, wanted: Wanted) -> Capacity:
    """Search, confirm, and return what was found; says each step.

    Raises:
        RunFailed: a run could not be done.
    """
    start = _start(runs) if wanted.start is None else wanted.start
    rules = Rules(
        start=start,
        width=wanted.width,
        confirmations=wanted.confirmations,
        highest=wanted.highest,
    )
    tried: list[Probe] = []
    while True:
        step = decide([Tried(one.stage, one.rate, one.outcome) for one in tried], rules)
        if isinstance(step, End):
            return _result(runs, wanted, tried, step)
        try:
            lasts_s = _seconds(runs, step, wanted)
        except length.TooLong as error:
            if not tried:
                raise RunFailed(str(error)) from error
            return _result(runs, wanted, tried, End("too-long", step.rate), str(error))
        probe = _probe(runs, wanted, step, len(tried), lasts_s)
        runs.say(f"  {phrases.step(probe, runs.plan.scenario.percentile)}")
        tried.append(probe)


def _start(runs: Runs) -> float:
    """Return half of what a short closed loop gets: a rate that likely holds."""
    runs.say(f"{_START_IN_FLIGHT} in flight for {_START_S:g} s, to see where to begin")
    scenario = scenarios.at_in_flight(
        runs.plan.scenario, _START_IN_FLIGHT, runs.plan.scenario.seed, _START_S
    )
    report, _ = runs.run("00-start", scenario)
    if report.throughput.requests_per_s == 0:
        raise RunFailed(
            f"none of {sum(report.codes.values())} calls was answered"
            f" ({', '.join(report.codes)}): see {runs.folder / '00-start'}, or give --from RATE"
        )
    return report.throughput.requests_per_s / 2


def _seconds(runs: Runs, step: Trial, wanted: Wanted) -> float:
    ordered_s = scenarios.seconds(runs.plan.scenario)
    at_least_s = ordered_s if step.stage == "confirm" else min(ordered_s, _SEARCH_S)
    percentile = runs.plan.scenario.percentile
    return length.seconds(step.rate, percentile, at_least_s, wanted.max_duration_s)


def _probe(runs: Runs, wanted: Wanted, step: Trial, place: int, lasts_s: float) -> Probe:
    base = runs.plan.scenario
    # Every run has a seed of its own: what held for one schedule is confirmed by others.
    scenario = scenarios.at_rate(base, step.rate, base.seed + place, lasts_s)
    name = f"{place + 1:02d}-{step.stage}-{step.rate:.4g}"
    runs.say(f"{step.stage}: {words.rate(step.rate)}/s for {words.number(lasts_s)} s")
    report, finished = runs.run(name, scenario)
    bound = report.bound
    assert bound is not None, wanted
    full = was_stopped_full(finished)
    return Probe(
        stage=step.stage,
        rate=step.rate,
        outcome=judge(report.verdict, bound, was_stopped_full=full),
        percentile_us=_percentile_us(finished, base.percentile),
        over=bound.over,
        allowed_over=bound.allowed_over,
        run=summary(report, name),
    )


def _percentile_us(finished: Finished, percentile: float) -> float | None:
    latency_ns = finished.calls.measured.answered.latency_ns
    if len(latency_ns) < minimum_samples(percentile):
        return None
    return float(np.percentile(latency_ns, percentile, method="inverted_cdf")) / 1000


def _result(runs: Runs, wanted: Wanted, tried: list[Probe], end: End, why: str = "") -> Capacity:
    is_found = end.reason in {"found", "highest"}
    percentile = runs.plan.scenario.percentile
    lost = [one.rate for one in tried if one.outcome == "fails"]
    above = [rate for rate in lost if not is_found or rate > end.rate]
    claim = phrases.bound(percentile, wanted.bound_ms)
    workers = runs.plan.expect_workers or runs.plan.workers
    text, advice = phrases.capacity(end, tried, claim, wanted.confirmations, workers)
    return Capacity(
        subject=runs.subject(),
        percentile=percentile,
        bound_ms=wanted.bound_ms,
        rate=end.rate if is_found else None,
        fails_at=min(above) if above else None,
        ended=end.reason,
        text=why or text,
        advice=advice,
        confirmations=wanted.confirmations,
        width=wanted.width,
        tried=tuple(tried),
    )
