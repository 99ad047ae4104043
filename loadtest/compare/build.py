"""Put runs together to a comparison. Pure: reports and samples in, one value out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.analysis.figures import Verdict
from loadtest.compare import phrases
from loadtest.compare.bootstrap import Side
from loadtest.compare.decision import Limits
from loadtest.compare.metrics import Couple, Finding, compare, metrics
from loadtest.compare.model import Comparison, MetricFigures, RunFigures
from loadtest.compare.sample import Sample
from loadtest.report.model import Report
from loadtest.scenario.schema import Open, Replay


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One run that counts."""

    pair: int
    side: Side
    folder: str
    attempts: int
    report: Report
    sample: Sample

    @property
    def seed(self) -> int:
        """Of its texts and arrivals."""
        return self.report.scenario.seed


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is compared, for people, and how large a change must be."""

    name: str
    a: str
    b: str
    limits: Limits
    warnings: tuple[str, ...] = ()


def build(ran: Sequence[Ran], subject: Subject) -> Comparison:
    """Work out what the runs say; they are in the order in which they were done."""
    report = ran[0].report
    pairs = len({one.pair for one in ran})
    invalid = [one for one in ran if not one.report.verdict.valid]
    found = () if invalid else _findings(ran, subject.limits)
    if invalid:
        text, advice = _blame(invalid)
    else:
        text = phrases.finding(found[0], subject.limits)
        advice = phrases.advice(found[0], subject.limits, pairs)
    return Comparison(
        name=subject.name,
        scenario=report.scenario,
        model=report.model,
        a=subject.a,
        b=subject.b,
        started_at=report.started_at,
        verdict="INVALID" if invalid else found[0].decision,
        text=text,
        advice=advice,
        pairs=pairs,
        min_effect=subject.limits.min_effect,
        resolve=subject.limits.resolve,
        metrics=tuple(_metric(one, subject.limits, decides=one is found[0]) for one in found),
        runs=tuple(_run(one, found) for one in ran),
        warnings=subject.warnings,
        versions=report.versions,
        machine=report.machine,
    )


def _findings(ran: Sequence[Ran], limits: Limits) -> tuple[Finding, ...]:
    scenario = ran[0].report.scenario
    couples = []
    for pair in sorted({one.pair for one in ran}):
        mine = [one for one in ran if one.pair == pair]
        a, b = (next(one for one in mine if one.side == side) for side in ("A", "B"))
        is_shared = isinstance(scenario, Open | Replay) and a.seed == b.seed
        couples.append(Couple(a.sample, b.sample, mine[0].side, is_shared))
    return compare(couples, metrics(scenario), limits)


def _blame(invalid: Sequence[Ran]) -> tuple[str, str]:
    """Return why a comparison is INVALID, and the advice of the first run that made it so."""
    first = invalid[0]
    verdict: Verdict = first.report.verdict
    reasons = "; ".join(reason.text for reason in verdict.reasons)
    many = f"{len(invalid)} runs were" if len(invalid) > 1 else "1 run was"
    where = f"run of {first.side} in pair {first.pair + 1}, seed {first.seed}"
    return f"{many} INVALID; the {where}: {reasons}", verdict.reasons[0].advice


def _metric(found: Finding, limits: Limits, *, decides: bool) -> MetricFigures:
    between = found.interval
    return MetricFigures(
        name=found.metric.name,
        decides=decides,
        decision=found.decision,
        a=_geometric_mean(found.a),
        b=_geometric_mean(found.b),
        ratio=between.ratio if between else None,
        low=between.low if between else None,
        high=between.high if between else None,
        level=found.level,
        block=found.block,
        text=phrases.finding(found, limits),
    )


def _geometric_mean(values: tuple[float | None, ...]) -> float | None:
    known = [math.log(value) for value in values if value is not None]
    return math.exp(sum(known) / len(known)) if known else None


def _run(one: Ran, found: Sequence[Finding]) -> RunFigures:
    sides = {each.metric.name: each.a if one.side == "A" else each.b for each in found}
    verdict = one.report.verdict
    return RunFigures(
        pair=one.pair,
        side=one.side,
        seed=one.seed,
        started_at=one.report.started_at,
        folder=one.folder,
        attempts=one.attempts,
        valid=verdict.valid,
        reasons=tuple(f"{reason.rule}: {reason.text}" for reason in verdict.reasons),
        answers=len(one.sample.latency_us),
        metrics={name: values[one.pair] for name, values in sides.items()},
    )
