"""What happened when: the numbers of a run per slice of time, warm-up shaded, phases marked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtest.analysis.figures import PhaseFigures, Series
from loadtest.record.calls import Calls
from loadtest.report.plot import style

# Below so many points, or with gaps between them, a line needs its points marked.
_FEW: Final = 15
# Part of the axis that a letter of a phase's name needs.
_LETTER: Final = 0.021
# So many calls are drawn each for itself.
_DOTS: Final = 600
# us; a latency of 0 has no place on a logarithmic axis.
_FLOOR_US: Final = 1.0


@dataclass(frozen=True)
class Look:
    """How a line looks, and what the legend calls it."""

    colour: str
    dashes: str = "-"
    label: str = ""


_MAX: Final = Look(style.THREE, ":", "max")
_P95: Final = Look(style.TWO, "--", "p95")
_P50: Final = Look(style.ONE, "-", "p50")


@dataclass(frozen=True)
class Span:
    """The axis of time of one run, in seconds since instant 0."""

    warmup_s: float
    end_s: float
    phases: tuple[PhaseFigures, ...] = ()


def latency(series: Series, span: Span, answered: Calls) -> str | None:
    """Draw latency over time; None where nothing was answered, or all in one slice was due.

    Few calls are drawn each for itself: their slices have no percentiles, and one dot hides none.
    """
    figure, axes = over_time(span)
    axes.set_yscale("log")
    slices = sum(value is not None for value in series.max_us)
    if len(answered) > _DOTS and slices <= 1:
        return None
    if len(answered) <= _DOTS:
        at_s, latency_ms = answered.column("scheduled_ns") / 1e9, answered.latency_ns / 1e6
        dots = np.maximum(latency_ms, _FLOOR_US / 1000)
        looks: dict[str, Any] = {"color": style.THREE, "markersize": 5, "alpha": 0.7}
        axes.plot(at_s, dots, ".", label="each call", **looks)
    else:
        _lines(axes, series, ((series.max_us, _MAX),))
    _lines(axes, series, ((series.p95_us, _P95), (series.p50_us, _P50)))
    if not _finish_log(axes):
        return None
    axes.set_ylabel("ms")
    return style.svg(figure, "Latency over time")


def throughput(series: Series, span: Span) -> str:
    """Draw due, ended and failed calls per second over time, the phases by name."""
    figure, axes = over_time(span)
    middles = _middles(series)
    if sum(rate > 0 for rate in series.offered_per_s) > 1:
        # All at once has no rate, and would leave no room for the others.
        draw(axes, middles, series.offered_per_s, Look(style.TWO, "--", "offered"))
    draw(axes, middles, series.completed_per_s, Look(style.ONE, "-", "completed"))
    if any(series.errors_per_s):
        draw(axes, middles, series.errors_per_s, Look(style.THREE, ":", "errors"))
    from_zero(axes, 1.16 if len(span.phases) > 1 else 1.06)
    _name_phases(axes, span)
    axes.set_ylabel("calls/s")
    style.legend(axes)
    return style.svg(figure, "Throughput over time")


def in_flight(series: Series, span: Span) -> str:
    """Draw calls in flight over time."""
    figure, axes = over_time(span)
    draw(axes, _middles(series), series.in_flight, Look(style.ONE))
    from_zero(axes)
    axes.set_ylabel("calls in flight")
    return style.svg(figure, "Calls in flight over time")


def lag(series: Series, span: Span) -> str | None:
    """Draw how late the generator was over time; None where nothing could tell."""
    figure, axes = over_time(span)
    axes.set_yscale("log")
    _lines(axes, series, ((series.lag_max_us, _MAX), (series.lag_p50_us, _P50)))
    if not _finish_log(axes):
        return None
    axes.set_ylabel("ms late")
    return style.svg(figure, "Lag of the generator over time")


def over_time(span: Span) -> tuple[Figure, Axes]:
    """Return a figure with the axis of time of a run."""
    figure, axes = style.figure()
    axes.set_xlim(0, max(span.end_s, 1e-3))
    if span.warmup_s > 0:
        axes.axvspan(0, span.warmup_s, color=style.WASH, linewidth=0, zorder=0)
    # Not axvline: that is a line of the axes, with the values 0 and 1.
    axes.vlines(
        [phase.from_s for phase in span.phases[1:]],
        0,
        1,
        transform=axes.get_xaxis_transform(),
        color=style.INK,
        linewidth=0.6,
        linestyles=(0.0, (2, 3)),
        zorder=1,
    )
    style.linear_ticks(axes, which="x")
    axes.set_xlabel("seconds, warm-up shaded" if span.warmup_s > 0 else "seconds")
    return figure, axes


def draw(axes: Axes, at_s: style.Values, line: style.Values, look: Look) -> None:
    """Draw a line that may have gaps."""
    values = style.numbers(line)
    has_gaps = bool(np.isnan(values).any())
    marker = "." if has_gaps or len(values) < _FEW else ""
    axes.plot(
        style.numbers(at_s),
        values,
        look.dashes,
        marker=marker,
        color=look.colour,
        label=look.label or None,
    )


def from_zero(axes: Axes, room: float = 1.06) -> None:
    """Let the vertical axis begin at 0 and leave room above the highest value."""
    values = [np.asarray(line.get_ydata(), np.float64) for line in axes.get_lines()]
    highest = max((np.nanmax(one, initial=0) for one in values if len(one) > 0), default=0.0)
    axes.set_ylim(0, float(highest) * room or 1)
    style.linear_ticks(axes)


def _lines(axes: Axes, series: Series, lines: Sequence[tuple[list[float | None], Look]]) -> None:
    """Draw lines of us as ms, each only where it has a value at all."""
    for line, look in lines:
        values = np.maximum(style.numbers(line), _FLOOR_US) / 1000
        if not np.isnan(values).all():
            draw(axes, _middles(series), values, look)


def _finish_log(axes: Axes) -> bool:
    """Give the axes their scale and legend; return whether there is anything on them."""
    drawn = [np.asarray(line.get_ydata(), np.float64) for line in axes.get_lines()]
    if not any((line > 0).any() for line in drawn):
        return False
    style.log_ticks(axes)
    style.legend(axes)
    return True


def _name_phases(axes: Axes, span: Span) -> None:
    if len(span.phases) < 2:  # noqa: PLR2004  one phase is the whole run
        return
    parts = [(phase.to_s - phase.from_s) / max(span.end_s, 1e-3) for phase in span.phases]
    names = [phase.name for phase in span.phases]
    if any(part < _LETTER * (len(name) + 1) for part, name in zip(parts, names, strict=True)):
        names = [str(number) for number in range(1, len(names) + 1)]
    if min(parts) < _LETTER * 2:
        return
    for phase, name in zip(span.phases, names, strict=True):
        axes.text(
            (phase.from_s + phase.to_s) / 2,
            0.99,
            name,
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="top",
            fontsize=9.5,
            color=style.INK,
        )


def _middles(series: Series) -> list[float]:
    return [start + series.width_s / 2 for start in series.start_s]
