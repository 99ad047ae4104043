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
from loadtest.compare.blocks import Floats, block_length
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
    latencies = [Metric("mean"), *(Metric(f"p{one:g}", one) for one in wanted)]
    if isinstance(scenario, Closed):
        return (Metric("throughput"), *latencies)
    claimed = [one for one in latencies if one.percentile == scenario.percentile]
    return (*claimed, *(one for one in latencies if one not in claimed))


def compare(
    couples: Sequence[Couple], wanted: Sequence[Metric], limits: Limits
) -> tuple[Finding, ...]:
    """Return a finding for every metric, in their order; the first one decides."""
    level = 1 - (1 - LEVEL) / max(len(wanted) - 1, 1)
    found = {}
    for is_pace in (True, False):
        mine = [one for one in wanted if one.is_pace == is_pace]
        if mine:
            found.update(_compare(couples, mine, limits, {wanted[0]: LEVEL}, level))
    return tuple(found[one] for one in wanted)


def _compare(
    couples: Sequence[Couple],
    wanted: Sequence[Metric],
    limits: Limits,
    levels: dict[Metric, float],
    level: float,
) -> dict[Metric, Finding]:
    """Compare metrics of the same series, drawn once for all of them."""
    pairs = [_pair(couple, is_pace=wanted[0].is_pace) for couple in couples]
    fewest = min(min(len(pair.a), len(pair.b)) for pair in pairs)
    able = [one for one in wanted if fewest >= one.needed]
    block = _block(pairs, is_pace=wanted[0].is_pace) if able else 1
    luck = requests_drawn(pairs, _statistic(able), block, _SEED) if able else None
    found = {}
    for metric in wanted:
        mine = levels.get(metric, level)
        if luck is None or metric not in able:
            nothing = (None,) * len(pairs)
            found[metric] = Finding(
                metric, mine, nothing, nothing, None, "not enough data", block, fewest
            )
            continue
        place = _place(able, metric)
        between = _ratio(luck, place, mine, is_pace=metric.is_pace)
        found[metric] = Finding(
            metric,
            mine,
            _values(pairs, "A", able, place),
            _values(pairs, "B", able, place),
            between,
            decide(between, limits, is_more_better=metric.is_pace),
            block,
            fewest,
        )
    return found


def _pair(couple: Couple, *, is_pace: bool) -> Pair:
    if is_pace:
        return Pair(couple.a.gaps_s, couple.b.gaps_s, couple.first, is_shared=False)
    if couple.is_shared:
        return Pair(*align(couple.a, couple.b), couple.first, is_shared=True)
    return Pair(couple.a.latency_us, couple.b.latency_us, couple.first, is_shared=False)


def _block(pairs: Sequence[Pair], *, is_pace: bool) -> int:
    """Return the median of what every run asks for: one run's estimate varies a lot."""
    series = [values for pair in pairs for values in (pair.a, pair.b)]
    if not is_pace:
        # The logarithm keeps one outlier from hiding the autocorrelation of all others. Gaps are
        # taken as they are: a long one is made up for by the short ones after it.
        series = [np.log(one) for one in series]
    return int(np.median([block_length(one) for one in series]))


def _statistic(able: Sequence[Metric]) -> Statistic:
    quantiles = tuple(one.percentile / 100 for one in able if one.percentile)
    return Statistic(quantiles, with_mean=any(one.percentile is None for one in able))


def _place(able: Sequence[Metric], metric: Metric) -> int:
    """Return the statistic's place: the mean is the first, quantiles follow in their order."""
    with_mean = [one for one in able if one.percentile is None]
    quantiles = [one for one in able if one.percentile is not None]
    return [*with_mean, *quantiles].index(metric)


def _ratio(luck: Luck, place: int, level: float, *, is_pace: bool) -> Interval:
    found = interval(luck, place, level, _SEED)
    if not is_pace:
        return found
    # Gaps: the longer, the slower.
    return Interval(1 / found.ratio, 1 / found.high, 1 / found.low)


def _values(
    pairs: Sequence[Pair], side: Side, able: Sequence[Metric], place: int
) -> tuple[float | None, ...]:
    statistic = _statistic(able)
    series: list[Floats] = [pair.a if side == "A" else pair.b for pair in pairs]
    values = [float(np.exp(statistic.of(one[None])[0, place])) for one in series]
    return tuple(1 / value if able[0].is_pace else value for value in values)
