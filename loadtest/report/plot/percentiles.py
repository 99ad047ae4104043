"""Latency against percentile, the tail stretched: every nine is as wide as the last.

A line is drawn full as far as its samples carry a claim at 99 % confidence, dotted beyond, and
the axis has no tick out there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from loadtest.analysis.confidence import LEVEL, minimum_samples
from loadtest.analysis.figures import Bound
from loadtest.record.calls import Calls
from loadtest.record.row import Column
from loadtest.report.plot import style

_TICKS: Final = (50.0, 90.0, 95.0, 99.0, 99.9, 99.99)
_POINTS: Final = 300
# From so many nines on, these labels have no room beside their neighbours, 90 and 50.
_CROWDED: Final = 4.5
# So many lines and the bound have room in one row of the legend.
_ONE_ROW: Final = 2

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """Latencies of one clock or of one run, ns."""

    label: str
    values_ns: Column
    colour: str
    dashes: str = "-"


def percentiles(answered: Calls, streamed: Calls, bound: Bound | None) -> str | None:
    """Draw the latencies by every clock; None where not even the median has its samples.

    `streamed` are those of the answered calls that have a first response before the last.
    """
    lines = (
        Line("from schedule", answered.latency_ns, style.ONE),
        Line("from send", answered.send_latency_ns, style.TWO, "--"),
        Line("first response", streamed.first_latency_ns, style.FOUR, "-."),
    )
    return overlay(lines, "Latency by percentile and clock", bound)


def overlay(lines: Sequence[Line], title: str, bound: Bound | None = None) -> str | None:
    """Draw several lines in one figure; None where none has the samples for its median."""
    drawn = [line for line in lines if len(line.values_ns) >= minimum_samples(_TICKS[0])]
    if not drawn:
        return None
    figure, axes = style.figure()
    axes.set_yscale("log")
    for line in drawn:
        _draw(axes, line)
    most = max(len(line.values_ns) for line in drawn)
    _ticks(axes, most)
    if bound is not None:
        _mark(axes, bound)
    style.log_ticks(axes)
    axes.set_xlabel("percentile")
    axes.set_ylabel("ms")
    style.legend(axes, columns=3 if len(drawn) <= _ONE_ROW else 2)
    return style.svg(figure, title)


def _draw(axes: Axes, line: Line) -> None:
    nines, latency_ms = _tail(line.values_ns)
    carried = _nines_carried(len(line.values_ns))
    kept = nines <= carried
    axes.plot(nines[kept], latency_ms[kept], line.dashes, color=line.colour, label=line.label)
    # One point of overlap, so that there is no gap.
    beyond = max(int(kept.sum()) - 1, 0)
    axes.plot(nines[beyond:], latency_ms[beyond:], ":", color=line.colour, linewidth=1)


def _tail(values_ns: Column) -> tuple[Floats, Floats]:
    # One point per rank near the end, few in the crowd: some hundred in all for any run.
    count = len(values_ns)
    rest = np.unique(np.geomspace(1, count, _POINTS).astype(np.int64))[::-1]
    # The floor is a microsecond: an instant of 0 has no place on the axis.
    latency_ms = np.maximum(np.sort(values_ns)[count - rest] / 1e6, 1e-3)
    return np.log10(count / rest), latency_ms


def _nines_carried(samples: int) -> float:
    # The percentile whose claim takes just so many samples: p ** n = 1 - LEVEL.
    above: float = -np.expm1(np.log1p(-LEVEL) / samples)
    return float(-np.log10(above))


def _ticks(axes: Axes, samples: int) -> None:
    furthest = np.log10(samples)
    at = {0.0: "0"}
    for percentile in _TICKS:
        if samples >= minimum_samples(percentile):
            at[float(-np.log10(1 - percentile / 100))] = f"{percentile:g}"
    if furthest > _CROWDED:
        at = {place: label for place, label in at.items() if label not in {"0", "95"}}
    axes.set_xlim(0, furthest)
    axes.xaxis.set_major_locator(FixedLocator(list(at)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(list(at), list(at.values()))


def _mark(axes: Axes, bound: Bound) -> None:
    """Draw the bound and the percentile that it is for."""
    place = -np.log10(1 - bound.percentile / 100)
    colour = style.GOOD if bound.holds else style.BAD
    axes.axhline(bound.bound / 1000, color=colour, linewidth=1, dashes=(6, 2))
    axes.plot(
        [place],
        [bound.bound / 1000],
        "D",
        color=colour,
        label=f"bound p{bound.percentile:g}",
        clip_on=False,
    )
