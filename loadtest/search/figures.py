"""The figures of a search and of a sweep."""

from typing import Final

from loadtest.report.plot import curve, style
from loadtest.search.model import Capacity, Sweep

_LOOKS: Final = {
    "holds": ("o", style.GOOD, "holds"),
    "fails": ("X", style.BAD, "does not hold"),
    "late": ("^", style.INK, "generator late"),
    "unclear": ("s", style.INK, "says nothing"),
}


def tried(found: Capacity) -> str | None:
    """Draw the percentile of every run over its rate; None where no run has one."""
    drawn = [one for one in found.tried if one.percentile_us is not None]
    if not drawn:
        return None
    figure, axes = style.figure()
    for outcome, (look, colour, label) in _LOOKS.items():
        for stage, size, note in (("search", 6.0, ""), ("confirm", 9.0, ", confirming")):
            mine = [
                one
                for one in drawn
                if one.outcome == outcome and (one.stage == "confirm") == (stage == "confirm")
            ]
            if mine:
                axes.plot(
                    [one.rate for one in mine],
                    style.numbers([one.percentile_us for one in mine], 1e-3),
                    look,
                    color=colour,
                    markersize=size,
                    fillstyle="none" if stage == "confirm" else "full",
                    label=f"{label}{note}",
                )
    axes.axhline(found.bound_ms, color=style.INK, linewidth=1, dashes=(6, 2), label="bound")
    if found.rate is not None:
        axes.axvline(found.rate, color=style.GOOD, linewidth=1, dashes=(4, 2))
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 1e-3), high)
    style.log_ticks(axes)
    style.linear_ticks(axes, which="x")
    axes.set_xlabel("offered calls/s")
    axes.set_ylabel(f"p{found.percentile:g}, ms")
    style.legend(axes, columns=2)
    return style.svg(figure, f"p{found.percentile:g} of every run over its rate, with the bound")


def throughput_latency(found: Sweep) -> str | None:
    """Draw latency against throughput, the knee marked; None with fewer than two points."""
    points = [
        curve.Point(
            f"{point.level:.4g}",
            point.run.answered_per_s,
            point.run.latency_us,
            is_marked=point.is_knee,
        )
        for point in found.points
        if point.state in {"valid", "overloaded"}
    ]
    return curve.curve(points, "Latency against throughput, one point per level")


def throughput(found: Sweep) -> str | None:
    """Draw answered calls per second over the level; None with fewer than two points."""
    points = [point for point in found.points if point.state != "unclear"]
    if len(points) < 2:  # noqa: PLR2004  one point is no line
        return None
    figure, axes = style.figure()
    levels = [point.level for point in points]
    values = [point.run.answered_per_s for point in points]
    axes.plot(levels, values, "o-", color=style.ONE, label="answered calls/s")
    for state, look, colour in (("overloaded", "X", style.BAD), ("late", "^", style.INK)):
        mine = [point for point in points if point.state == state]
        if mine:
            axes.plot(
                [point.level for point in mine],
                [point.run.answered_per_s for point in mine],
                look,
                color=colour,
                markersize=9,
                label="overloaded" if state == "overloaded" else "generator late",
            )
    for level, label, colour in (
        (found.knee, "knee", style.GOOD),
        (found.saturation, "flat", style.TWO),
    ):
        if level is not None:
            axes.axvline(level, color=colour, linewidth=1, dashes=(4, 2), label=label)
    axes.set_ylim(bottom=0)
    if min(levels) > 0:
        style.log_ticks(axes, which="x")
    style.linear_ticks(axes)
    axes.set_xlabel("calls in flight" if found.over == "in-flight" else "offered calls/s")
    axes.set_ylabel("answered calls/s")
    style.legend(axes, columns=3)
    return style.svg(figure, "Throughput over load")
