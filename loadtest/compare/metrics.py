"""What is compared, which of it decides, and how each comes out. Pure.

Closed loops and offline runs are about throughput, open ones about the percentile that they claim:
that metric alone gives the verdict, at 99 %. The others are shown for whoever looks for the cause,
their intervals at a level that leaves all of them together 1 % of false alarms (Bonferroni).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadtest.analysis.confidence import minimum_samples
from loadtest.compare.blocks import block_length
from loadtest.compare.bootstrap import (
    Interval,
    Luck,
    Pair,
    Side,
    Statistic,
    interval,
    requests_drawn,
)
from loadtest.compare.decision import LEVEL, Decision, Limits, decide
from loadtest.compare.sample import Sample, align
from loadtest.scenario.schema import AnyScenario, Closed, Offline

_SHOWN: Final = (50.0, 90.0, 99.0)
# Below these a run has no pace and no mean to speak of.
_FEWEST_ANSWERS: Final = 44
_SEED: Final = 20


@dataclass(frozen=True)
class Metric:
    """One thing to compare: answers per second, mean latency, or a percentile of it."""

    name: str
    percentile: float | None = None

    @property
    def is_pace(self) -> bool:
        """More of it is better."""
        return self.name == "throughput"

    @property
    def needed(self) -> int:
        """Answers that each run must have."""
        return minimum_samples(self.percentile) if self.percentile else _FEWEST_ANSWERS


_MEAN: Final = Metric("mean")


@dataclass(frozen=True)
class Couple:
    """Two runs that stood beside each other."""

    a: Sample
    b: Sample
    first: Side
    # Same arrivals and texts on both sides, call by call.
    is_shared: bool


@dataclass(frozen=True)
class Finding:
    """One metric over all pairs. Without an interval when a run has too few answers."""

    metric: Metric
    level: float
    # Per run, in the order of the pairs: calls per second or us; None as for `interval`.
    a: tuple[float | None, ...]
    b: tuple[float | None, ...]
    interval: Interval | None
    decision: Decision
    block: int
    fewest_answers: int


def metrics(scenario: AnyScenario) -> tuple[Metric, ...]:
    """Return what is compared, the one that decides first.

    Of an offline run only throughput: its latencies say where in the pile a call lay.
    """
    if isinstance(scenario, Offline):
        return (Metric("throughput"),)
    wanted = sorted({*_SHOWN, scenario.percentile})
    latencies = [_MEAN, *(Metric(f"p{one:g}", one) for one in wanted)]
    if isinstance(scenario, Closed):
        return (Metric("throughput"), *latencies)
    claimed = [one for one in latencies if one.percentile == scenario.percentile]
    return (*claimed, *(one for one in latencies if one not in claimed))


def compare(
    couples: Sequence[Couple], wanted: Sequence[Metric], limits: Limits
) -> tuple[Finding, ...]:
    """Return a finding for every metric, in their order; the first one decides."""
    others = 1 - (1 - LEVEL) / max(len(wanted) - 1, 1)
    series = [_pair(couple) for couple in couples]
    fewest = min(min(len(pair.a), len(pair.b)) for pair in series)
    block = _block(series) if fewest else 1
    able = [metric for metric in wanted if fewest >= metric.needed]
    lucks = _lucks(couples, series, able, block)
    found = []
    for metric in wanted:
        level = LEVEL if metric is wanted[0] else others
        between = interval(lucks[metric], 0, level, _SEED) if metric in lucks else None
        found.append(
            Finding(
                metric,
                level,
                tuple(_value(metric, couple.a, able) for couple in couples),
                tuple(_value(metric, couple.b, able) for couple in couples),
                between,
                decide(between, limits, is_more_better=metric.is_pace)
                if between
                else "not enough data",
                block,
                fewest,
            )
        )
    return tuple(found)


def _pair(couple: Couple) -> Pair:
    if couple.is_shared:
        return Pair(*align(couple.a, couple.b), couple.first, is_shared=True)
    return Pair(couple.a.latency_us, couple.b.latency_us, couple.first, is_shared=False)


def _block(series: Sequence[Pair]) -> int:
    """Return the median of what every run asks for: one run's estimate varies a lot."""
    # The logarithm keeps one outlier from hiding the autocorrelation of all others.
    lengths = [block_length(np.log(values)) for pair in series for values in (pair.a, pair.b)]
    return int(np.median(lengths))


def _lucks(
    couples: Sequence[Couple], series: list[Pair], able: Sequence[Metric], block: int
) -> dict[Metric, Luck]:
    """Return what luck did to each metric, requests drawn once for all of them."""
    latencies = [metric for metric in able if not metric.is_pace]
    drawn = {}
    if latencies:
        quantiles = [metric for metric in latencies if metric.percentile]
        statistic = Statistic(tuple((each.percentile or 0) / 100 for each in quantiles))
        luck = requests_drawn(series, statistic, block, _SEED)
        # The mean comes first.
        for place, metric in enumerate([_MEAN, *quantiles]):
            drawn[metric] = luck.only(place)
    if able and able[0].is_pace:
        drawn[able[0]] = _pace(couples, drawn.get(_MEAN))
    return {metric: luck for metric, luck in drawn.items() if metric in able}


def _pace(couples: Sequence[Couple], mean: Luck | None) -> Luck:
    """Return what luck did to throughput.

    In a closed loop it is calls in flight over mean latency, so the luck within a run is that of
    the mean. An offline run is one batch of work whose requests nothing can draw anew: there it is
    the pairs alone that tell.
    """
    ratios = np.log([[couple.b.per_s / couple.a.per_s] for couple in couples])
    within = -mean.within if mean is not None else np.zeros((len(couples), 1, 1))
    return Luck(ratios, within, tuple(couple.first for couple in couples))


def _value(metric: Metric, sample: Sample, able: Sequence[Metric]) -> float | None:
    if metric not in able:
        return None
    if metric.is_pace:
        return sample.per_s
    if metric.percentile is None:
        return float(sample.latency_us.mean())
    return float(np.percentile(sample.latency_us, metric.percentile, method="inverted_cdf"))
