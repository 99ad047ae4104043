"""The figures of the report, as SVG text that follows the page's colours.

Figures are drawn in sentinel colours, which are then replaced by the page's CSS variables: one
drawing is right on a light and on a dark page. Text stays text in the page's own font.
"""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.typing import RcKeyType

from loadtest.record import Calls, Column
from loadtest.series import Series
from loadtest.summary import Stage

# Sentinel colour -> CSS variable. Any colours do, as long as nothing else draws in them.
_INK, _GRID, _ONE, _TWO, _THREE, _WASH = (
    "#010203",
    "#010204",
    "#010205",
    "#010206",
    "#010207",
    "#010208",
)
_STAGE_COLOURS = ("#010211", "#010212", "#010213", "#010214", "#010215", "#010216")
_VARIABLES = {
    _INK: "--ink-soft",
    _GRID: "--grid",
    _ONE: "--one",
    _TWO: "--two",
    _THREE: "--three",
    _WASH: "--wash",
    **{colour: f"--stage-{i}" for i, colour in enumerate(_STAGE_COLOURS)},
}
_STYLE: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "heed",
    "font.size": 9,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
}
# Wide enough to read and narrow enough that a phone need not shrink the text.
_SIZE_IN = (5.4, 2.9)
_MAX_TICKS = 8

Line = Sequence[float | None]


def percentiles(answered: Calls) -> str:
    """Draw latency against percentile by both clocks, the tail stretched."""
    figure, axes = _figure()
    for values, colour, label, style in (
        (answered.latency_ns, _ONE, "from schedule", "-"),
        (answered.send_latency_ns, _TWO, "from send", "--"),
    ):
        nines, latency_ms = _tail(values)
        axes.plot(nines, latency_ms, style, color=colour, label=label)
    furthest = np.log10(len(answered))
    ticks = {0: "0", np.log10(2): "50", 1: "90", np.log10(20): "95", 2: "99", 3: "99.9", 4: "99.99"}
    shown = {at: label for at, label in ticks.items() if at <= furthest + 0.01}
    axes.xaxis.set_major_locator(FixedLocator(list(shown)))
    axes.xaxis.set_ticklabels(list(shown.values()))
    axes.set_yscale("log")
    _plain_log_ticks(axes)
    axes.set_xlabel("percentile")
    axes.set_ylabel("ms")
    _legend(axes)
    return _svg(figure, "Latency by percentile, from schedule and from send")


def latency(series: Series, warmup_s: float) -> str:
    """Draw latency over time."""
    figure, axes = _over_time(series, warmup_s)
    for line, colour, label in (
        (series.max_us, _THREE, "max"),
        (series.p95_us, _TWO, "p95"),
        (series.p50_us, _ONE, "p50"),
    ):
        axes.plot(series.start_s, _in_ms(line), color=colour, label=label)
    axes.set_ylabel("ms")
    axes.set_yscale("log")
    _plain_log_ticks(axes)
    _legend(axes)
    return _svg(figure, "Latency over time")


def throughput(series: Series, warmup_s: float) -> str:
    """Draw due, ended and failed calls per second over time."""
    figure, axes = _over_time(series, warmup_s)
    axes.plot(series.start_s, series.offered_per_s, "--", color=_TWO, label="offered")
    axes.plot(series.start_s, series.completed_per_s, color=_ONE, label="completed")
    if any(series.errors_per_s):
        axes.plot(series.start_s, series.errors_per_s, color=_THREE, label="errors")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("calls/s")
    _legend(axes)
    return _svg(figure, "Throughput over time")


def in_flight(series: Series, warmup_s: float) -> str:
    """Draw calls in flight over time."""
    figure, axes = _over_time(series, warmup_s)
    axes.plot(series.start_s, series.in_flight, color=_ONE)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("calls in flight")
    return _svg(figure, "Calls in flight over time")


def lag(series: Series, warmup_s: float) -> str:
    """Draw how late the generator was over time."""
    figure, axes = _over_time(series, warmup_s)
    axes.plot(series.start_s, _in_ms(series.lag_max_us), color=_THREE, label="max")
    axes.plot(series.start_s, _in_ms(series.lag_p50_us), color=_ONE, label="p50")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("ms late")
    _legend(axes)
    return _svg(figure, "Lag of the generator over time")


def stages(stages: dict[str, Stage]) -> str:
    """Draw where the time went, for all calls and for the slowest one in a hundred."""
    figure, axes = _figure()
    rows = ("slowest 1 %", "all calls")
    left = np.zeros(2)
    for (name, stage), colour in zip(stages.items(), _STAGE_COLOURS, strict=True):
        widths = np.array([stage.tail_mean, stage.mean]) / 1000
        axes.barh(rows, widths, left=left, color=colour, label=name, height=0.55)
        left += widths
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("mean ms per call")
    _legend(axes)
    return _svg(figure, "Where the time went")


def _tail(values_ns: Column) -> tuple[np.ndarray, np.ndarray]:
    # One point per rank near the end, few in the crowd: some hundred in all for any run.
    count = len(values_ns)
    rest = np.unique(np.geomspace(1, count, 400).astype(np.int64))[::-1]
    ranks = count - rest
    return np.log10(count / rest), np.sort(values_ns)[ranks] / 1e6


def _figure() -> tuple[Figure, Axes]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE_IN, layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        axes.tick_params(length=0)
    return figure, axes


def _over_time(series: Series, warmup_s: float) -> tuple[Figure, Axes]:
    figure, axes = _figure()
    axes.set_xlim(0, series.start_s[-1] + series.width_s)
    if warmup_s > 0:
        axes.axvspan(0, warmup_s, color=_WASH, linewidth=0)
    axes.set_xlabel("seconds, warm-up shaded" if warmup_s > 0 else "seconds")
    return figure, axes


def _legend(axes: Axes) -> None:
    with mpl.rc_context(_STYLE):
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0)


def _plain_log_ticks(axes: Axes) -> None:
    low, high = axes.get_ylim()
    # The finest steps that leave room between the labels.
    for multiples in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1,)):
        steps = [multiple * 10.0**e for e in range(-4, 7) for multiple in multiples]
        inside = [step for step in steps if low <= step <= high]
        if len(inside) <= _MAX_TICKS:
            break
    axes.yaxis.set_major_locator(FixedLocator(inside))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _in_ms(line: Line) -> list[float]:
    return [np.nan if value is None else value / 1000 for value in line]


def _svg(figure: Figure, title: str) -> str:
    buffer = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Title": title})
    text = buffer.getvalue()
    # Inside a page: no XML prologue, no fixed size, a name for those who cannot see it.
    text = text[text.index("<svg") :]
    text = re.sub(
        r'<svg ([^>]*?)width="[^"]*"',
        rf'<svg role="img" aria-label="{title}" \1',
        text,
        count=1,
        flags=re.DOTALL,
    )
    text = re.sub(r'(<svg [^>]*?)height="[^"]*"', r"\1", text, count=1, flags=re.DOTALL)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text
