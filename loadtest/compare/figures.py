"""The figures of a comparison: intervals, runs in their order, both latency distributions."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from loadtest.compare.build import Ran
from loadtest.compare.model import Comparison, MetricFigures
from loadtest.report.plot import style
from loadtest.report.plot.percentiles import Line, overlay

_COLOURS = {
    "better": style.GOOD,
    "worse": style.BAD,
    "no difference": style.ONE,
    "not enough data": style.INK,
}


def intervals(comparison: Comparison) -> str | None:
    """Draw the change of every metric with its interval; None where none has one."""
    drawn = [one for one in comparison.metrics if one.ratio is not None]
    if not drawn:
        return None
    figure, axes = style.figure(height=0.4 + 0.13 * len(drawn))
    resolve, effect = 100 * comparison.resolve, 100 * comparison.min_effect
    axes.axvspan(-resolve, resolve, color=style.WASH, linewidth=0)
    axes.axvline(0, color=style.INK, linewidth=1)
    for edge in (-effect, effect):
        axes.axvline(edge, color=style.INK, linewidth=0.7, dashes=(3, 3))
    for place, one in enumerate(reversed(drawn)):
        ratio, low, high = (_percent(value) for value in (one.ratio, one.low, one.high))
        colour, width = _COLOURS[one.decision], 3.0 if one.decides else 1.7
        axes.plot([low, high], [place, place], "|-", color=colour, linewidth=width)
        axes.plot([ratio], [place], "D" if one.decides else "o", color=colour)
    axes.set_yticks(range(len(drawn)), [one.name for one in reversed(drawn)])
    axes.set_ylim(-0.6, len(drawn) - 0.4)
    axes.grid(visible=False, axis="y")
    style.linear_ticks(axes, which="x")
    axes.set_xlabel("B against A, %")
    return style.svg(figure, "Change of every metric from A to B with its interval")


def runs(comparison: Comparison) -> str | None:
    """Draw the deciding metric of every run in order, so that a drift shows."""
    if not comparison.metrics:
        return None
    decides = comparison.metrics[0]
    scale = 1.0 if decides.name == "throughput" else 1e-3
    figure, axes = style.figure()
    for side, look, colour in (("A", "o", style.ONE), ("B", "s", style.TWO)):
        places = [place for place, run in enumerate(comparison.runs) if run.side == side]
        values = [comparison.runs[place].metrics[decides.name] for place in places]
        if any(value is None for value in values):
            return None
        axes.plot(
            np.array(places) + 1, style.numbers(values, scale), look, color=colour, label=side
        )
    _join(comparison, decides, scale, axes)
    axes.set_xlabel("run")
    axes.set_ylabel("answered calls/s" if scale == 1 else f"{decides.name}, ms")
    style.linear_ticks(axes, which="x")
    style.linear_ticks(axes)
    style.legend(axes)
    return style.svg(figure, f"{decides.name} of every run in the order in which they were done")


def percentiles(ran: Sequence[Ran]) -> str | None:
    """Draw latency against percentile, all runs of a side together; None without both sides."""
    # A comparison that ended with its first run has only one.
    if {one.side for one in ran} != {"A", "B"}:
        return None
    lines = []
    for side, colour, dashes in (("A", style.ONE, "-"), ("B", style.TWO, "--")):
        pooled = np.concatenate([one.sample.latency_us for one in ran if one.side == side])
        lines.append(Line(side, np.round(pooled * 1000).astype(np.int64), colour, dashes))
    return overlay(lines, "Latency from schedule by percentile, A and B")


def _join(comparison: Comparison, decides: MetricFigures, scale: float, axes: Axes) -> None:
    """Draw a line between the two runs of each pair."""
    by_pair: dict[int, list[tuple[int, float]]] = {}
    for place, run in enumerate(comparison.runs):
        value = run.metrics[decides.name]
        assert value is not None
        by_pair.setdefault(run.pair, []).append((place + 1, value * scale))
    for ends in by_pair.values():
        places, values = zip(*ends, strict=True)
        axes.plot(places, values, "-", color=style.INK, linewidth=0.8, zorder=1)


def _percent(value: float | None) -> float:
    return np.nan if value is None else 100 * (value - 1)
