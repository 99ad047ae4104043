"""How far the luck of a comparison could have moved its ratios: the hierarchical block bootstrap.

Pure and seeded: the same values give the same interval. Two sources of luck are drawn anew:

1. Which pairs there were. A pair is one run of A beside one of B; what the machine did to both of
   them cancels in their ratio, what it did to one does not. A steady drift makes pairs that began
   with A differ from those that began with B; half of that difference is taken from either. A run
   that something else disturbed would widen the interval beyond use, so a fifth of the pairs at
   either end is set aside: the estimate is their trimmed mean, and its spread is that of the
   winsorised pairs (Yuen, 1974).
2. Which requests a run happened to see: blocks of consecutive ones (see `blocks`). Where A and B
   got the same schedule, both take the same blocks, so that luck which they shared stays shared.

Pairs already differ by the second kind of luck, so drawing both would count it twice. The spread
between pairs is therefore first reduced by the spread within them (Davison and Hinkley, Bootstrap
Methods, 1997, section 3.8); together they are never less than either. With as few pairs as one
can afford, quantiles of resamples are too narrow; they are widened by Student's t over the normal
(Hesterberg, 2015). Its degrees of freedom are those of the pairs, more where the requests tell
more than they do (Satterthwaite), never more than there are pairs left.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from loadtest.compare.blocks import Floats, Places, draw_places
from loadtest.compare.student import widening

TRIMMED: Final = 0.2
"""Of the pairs, at either end; of fewer than `TRIMS_FROM` none, which could not be spared."""
TRIMS_FROM: Final = 8

_RESAMPLES: Final = 10_000
_WITHIN: Final = 400
_FEWEST_WITHIN: Final = 100
# Values that are drawn at once, and for one run in all: bounds memory and time of long runs.
_AT_ONCE: Final = 4_000_000
_IN_ALL: Final = 20_000_000

Side = Literal["A", "B"]


@dataclass(frozen=True)
class Pair:
    """One series of A and one of B, in the order of the schedule."""

    a: Floats
    b: Floats
    first: Side
    is_shared: bool
    """Both hold the same requests in the same places."""


@dataclass(frozen=True)
class Statistic:
    """What is asked of a series: its mean, then quantiles (0 to 1)."""

    quantiles: tuple[float, ...] = ()

    def of(self, values: Floats) -> Floats:
        """Return the logarithms of the statistics of each row, shape (rows, statistics)."""
        columns = [values.mean(axis=1, keepdims=True)]
        if self.quantiles:
            # As the reports have it: the smallest value that so many did not exceed.
            found = np.quantile(values, self.quantiles, axis=1, method="inverted_cdf")
            columns.append(found.T)
        logarithms: Floats = np.log(np.concatenate(columns, axis=1))
        return logarithms


@dataclass(frozen=True)
class Luck:
    """Log ratios B over A of every pair, and what drawing requests anew made of them."""

    ratios: Floats
    """Shape (pairs, statistics)."""
    within: Floats
    """Deviations, shape (pairs, resamples, statistics)."""
    first: tuple[Side, ...]

    def only(self, statistic: int) -> "Luck":
        """Return what it did to one of the statistics."""
        place = slice(statistic, statistic + 1)
        return Luck(self.ratios[:, place], self.within[:, :, place], self.first)


@dataclass(frozen=True)
class Interval:
    """A ratio B over A."""

    ratio: float
    low: float
    high: float


def requests_drawn(pairs: list[Pair], statistic: Statistic, length: int, seed: int) -> Luck:
    """Draw the requests of every pair anew, in blocks of the given length."""
    draw = np.random.default_rng([seed, 1])
    ratios, within = [], []
    longest = max(max(len(pair.a), len(pair.b)) for pair in pairs)
    resamples = int(np.clip(_IN_ALL // longest, _FEWEST_WITHIN, _WITHIN))
    for pair in pairs:
        ratios.append((statistic.of(pair.b[None]) - statistic.of(pair.a[None]))[0])
        drawn = _drawn(pair, statistic, length, resamples, draw)
        within.append(drawn - drawn.mean(axis=0))
    first = tuple(pair.first for pair in pairs)
    return Luck(np.stack(ratios), np.stack(within), first)


def interval(luck: Luck, statistic: int, level: float, seed: int) -> Interval:
    """Return one statistic's ratio over all pairs and where it lies at that confidence."""
    draw = np.random.default_rng([seed, 2])
    drift = _drift(luck.ratios[:, statistic], luck.first)
    ratios = luck.ratios[:, statistic] - drift
    order, count = np.argsort(ratios, kind="stable"), len(ratios)
    kept = order[_aside(count) : count - _aside(count)]
    estimate = float(ratios[kept].mean())
    freedom = len(kept) - 1 - int(drift.any())
    within = _typical(luck.within[:, :, statistic])
    residuals = _residuals(ratios, kept, freedom)
    between, inside = float((residuals**2).mean()), float((within**2).mean())
    rest = max(0.0, between - inside)
    if between > 0:
        residuals *= np.sqrt(rest / between)
    shape = (_RESAMPLES, count)
    drawn = residuals[draw.integers(count, size=shape)]
    lucky = within[draw.integers(count, size=shape), draw.integers(within.shape[1], size=shape)]
    tail = (1 - level) / 2
    low, high = np.quantile((drawn + lucky).mean(axis=1), [tail, 1 - tail])
    told = freedom * (max(between, inside) / rest) ** 2 if rest > 0 else np.inf
    wider = widening(level, int(min(told, len(kept))))
    return Interval(
        float(np.exp(estimate)),
        float(np.exp(estimate + wider * min(low, 0.0))),
        float(np.exp(estimate + wider * max(high, 0.0))),
    )


def _drawn(
    pair: Pair, statistic: Statistic, length: int, resamples: int, draw: np.random.Generator
) -> Floats:
    rows = max(1, _AT_ONCE // max(len(pair.a), len(pair.b)))
    parts = []
    for begun in range(0, resamples, rows):
        count = min(rows, resamples - begun)
        at_a = draw_places(draw, count, len(pair.a), length)
        at_b = at_a if pair.is_shared else draw_places(draw, count, len(pair.b), length)
        parts.append(statistic.of(pair.b[at_b]) - statistic.of(pair.a[at_a]))
    return np.concatenate(parts)


def _drift(ratios: Floats, first: tuple[Side, ...]) -> Floats:
    """Return what to take from each pair: its order's half of the difference between the orders.

    Nothing where one of the orders is too rare to tell.
    """
    began = np.array([1.0 if side == "A" else -1.0 for side in first])
    if min((began > 0).sum(), (began < 0).sum()) < 2:  # noqa: PLR2004  one value tells nothing
        return np.zeros_like(ratios)
    half = (np.median(ratios[began > 0]) - np.median(ratios[began < 0])) / 2
    return began * half


def _typical(within: Floats) -> Floats:
    """Return the deviations of every pair, none with a wider spread than the median pair.

    A run that something disturbed varies in itself as well, and says as little by it.
    """
    spreads = within.std(axis=1, keepdims=True)
    median = np.median(spreads)
    scaled: Floats = within * np.divide(
        median, spreads, out=np.ones_like(spreads), where=spreads > median
    )
    return scaled


def _aside(pairs: int) -> int:
    """Return how many pairs are set aside at either end."""
    return int(TRIMMED * pairs) if pairs >= TRIMS_FROM else 0


def _residuals(ratios: Floats, kept: Places, freedom: int) -> Floats:
    """Return the winsorised pairs about their mean, as wide as Yuen's error of the trimmed mean.

    That is, their mean square over the number of pairs is the variance of the estimate.
    """
    clipped = np.clip(ratios, ratios[kept].min(), ratios[kept].max())
    scale = len(ratios) / np.sqrt(len(kept) * freedom)
    residuals: Floats = (clipped - clipped.mean()) * scale
    return residuals
