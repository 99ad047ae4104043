"""Throughput against latency: what a server gives, and what it asks for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes

from loadtest.analysis.figures import Latency, PhaseFigures
from loadtest.report.plot import style

# From the highest down: the first that half of the points can claim is drawn above the median.
_UPPER: Final = ("p999", "p99", "p95", "p90")
# Size of the axes in points, roughly, for labels to keep clear of each other.
_AXES_PT: Final = (290.0, 150.0)
_LETTER_PT: Final = 5.6
# Where a label may stand beside its point, in points: above to the left first, where a
# rising curve is not.
_PLACES: Final = ((-4.0, 8.0), (0.0, 10.0), (-8.0, 0.0), (8.0, 0.0), (0.0, -10.0))


@dataclass(frozen=True)
class Point:
    """One load level: answered calls per second, and their latency."""

    label: str
    rate: float
    latency: Latency
    is_marked: bool = False
    """Drawn to be found: the knee of a sweep."""


def of_phases(phases: Sequence[PhaseFigures]) -> str | None:
    """Draw one point per phase; None where fewer than two have a latency."""
    points = [
        Point(phase.name, phase.throughput.requests_per_s, phase.latency_us) for phase in phases
    ]
    return curve(points, "Latency against throughput, one point per phase")


def curve(points: Sequence[Point], title: str) -> str | None:
    """Draw points in their order; None where fewer than two have a median."""
    points = [point for point in points if point.latency.p50 is not None]
    if len(points) <= 1:
        return None
    figure, axes = style.figure()
    axes.set_yscale("log")
    rates = [point.rate for point in points]
    upper = next((name for name in _UPPER if _claimed(points, name) * 2 >= len(points)), None)
    for name, colour, look in ((upper, style.TWO, "s--"), ("p50", style.ONE, "o-")):
        if name is not None:
            line = style.numbers([getattr(point.latency, name) for point in points], 1e-3)
            axes.plot(rates, line, look, color=colour, label=name.replace("p999", "p99.9"))
    # Room for the labels above and below.
    axes.margins(y=0.15)
    axes.set_xlim(0, max(rates) * 1.12 or 1)
    for point in points:
        if point.is_marked:
            axes.axvline(point.rate, color=style.GOOD, linewidth=1, dashes=(4, 2), label="knee")
    style.log_ticks(axes)
    style.linear_ticks(axes, which="x")
    _labels(axes, points, upper or "p50")
    axes.set_xlabel("answered calls/s")
    axes.set_ylabel("ms")
    style.legend(axes)
    return style.svg(figure, title)


def _claimed(points: Sequence[Point], name: str) -> int:
    return sum(getattr(point.latency, name) is not None for point in points)


def _labels(axes: Axes, points: Sequence[Point], name: str) -> None:
    """Write each label where it hides neither a point nor another label, or not at all."""
    high = axes.get_xlim()[1]
    low_ms, high_ms = np.log(axes.get_ylim())
    spots = []
    for point in points:
        claimed: float | None = getattr(point.latency, name)
        value = (point.latency.p50 or 0.0) if claimed is None else claimed
        height = (np.log(value / 1000) - low_ms) / (high_ms - low_ms)
        spots.append((point.rate / high * _AXES_PT[0], height * _AXES_PT[1], value / 1000))
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y, _ in spots]
    for point, (x, y, value_ms) in zip(points, spots, strict=True):
        width = _LETTER_PT * len(point.label)
        for right, up in _PLACES:
            middle_x = x + right + np.sign(right) * width / 2
            box = (middle_x - width / 2, y + up - 5, middle_x + width / 2, y + up + 5)
            inside = box[0] >= 0 and box[2] <= _AXES_PT[0] and box[1] >= 0 and box[3] <= _AXES_PT[1]
            if not inside or any(_overlap(box, other) for other in taken):
                continue
            taken.append(box)
            axes.annotate(
                point.label,
                (point.rate, value_ms),
                (right, up),
                textcoords="offset points",
                ha={0: "center", 1: "left", -1: "right"}[int(np.sign(right))],
                va="center",
                fontsize=9.5,
                color=style.INK,
            )
            break


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
