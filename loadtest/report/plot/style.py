"""How every figure looks: size, colours, axes, and SVG text that follows the page's colours.

Figures are drawn in sentinel colours, which are then replaced by the page's CSS variables: one
drawing is right on a light and on a dark page. Text stays text in the page's own font. Lines
differ by dashes and markers too, never by colour alone.
"""

import html
import io
import math
import re
from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.typing import RcKeyType

Values = Sequence[float | None] | npt.NDArray[np.float64]

# Sentinel colours. Any will do, as long as nothing else draws in them.
INK: Final = "#010203"
GRID: Final = "#010204"
WASH: Final = "#010205"
CARD: Final = "#010206"
ONE: Final = "#010207"
TWO: Final = "#010208"
THREE: Final = "#010209"
FOUR: Final = "#01020a"
GOOD: Final = "#01020b"
BAD: Final = "#01020c"
STAGES: Final = tuple(f"#01021{i}" for i in range(6))
"""Fills of the stages, in the order of `Breakdown`."""
ON_STAGES: Final = tuple(f"#01022{i}" for i in range(6))
"""Text that lies on them."""

_VARIABLES: Final = {
    INK: "--ink-soft",
    GRID: "--grid",
    WASH: "--wash",
    CARD: "--card",
    ONE: "--one",
    TWO: "--two",
    THREE: "--three",
    FOUR: "--four",
    GOOD: "--good",
    BAD: "--bad",
    **{colour: f"--stage-{i}" for i, colour in enumerate(STAGES)},
    **{colour: f"--on-stage-{i}" for i, colour in enumerate(ON_STAGES)},
}
SENTINEL: Final = re.compile(r"#0102[0-2][0-9a-f]")
"""Finds one that was left in a page."""

_RC: Final[dict[RcKeyType, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "heed",
    "font.size": 11,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
    "legend.handletextpad": 0.5,
}
# As wide as a card on a phone, nearly: text keeps its size there and on a screen.
_SIZE_IN: Final = (4.8, 3.0)
_MAX_TICKS: Final = 7
_LEAST_FACTOR: Final = 3.0


def figure(height: float = 1.0) -> tuple[Figure, Axes]:
    """Return an empty figure in the report's size and its axes; `height` scales that."""
    with mpl.rc_context(_RC):
        drawn = Figure(figsize=(_SIZE_IN[0], _SIZE_IN[1] * height), layout="constrained")
        drawn.patch.set_visible(False)
        axes = drawn.add_subplot()
        axes.patch.set_visible(False)
        axes.tick_params(length=0)
    return drawn, axes


def svg(drawn: Figure, title: str) -> str:
    """Return the figure as an element for the page; `title` is for those who cannot see it."""
    buffer = io.StringIO()
    with mpl.rc_context(_RC):
        drawn.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    # Inside a page: no XML prologue, no fixed size, no names that other figures use as well.
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    # Styles of an element in a page are styles of the page: base.html.j2 has them.
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"(<svg [^>]*>)", lambda found: _tag(found[1], title), text, count=1)
    text = re.sub(r"font: (?:\w+ )?([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    text = re.sub(r"\n\s*", "\n", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text


def _tag(tag: str, title: str) -> str:
    bare = re.sub(r' (?:width|height|version|xmlns(?::\w+)?)="[^"]*"', "", tag)
    return bare.replace("<svg", f'<svg role="img" aria-label="{html.escape(title)}"', 1)


def legend(axes: Axes, *, columns: int = 4, is_reversed: bool = False) -> None:
    """Put the legend above the axes, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if is_reversed:
        handles, labels = handles[::-1], labels[::-1]
    with mpl.rc_context(_RC):
        axes.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=min(columns, len(labels)),
            borderaxespad=0,
            borderpad=0.3,
        )


def log_ticks(axes: Axes, which: str = "y") -> None:
    """Make the axis logarithmic, with plain numbers at round steps that leave room.

    It spans a factor of three at least, so that a flat line does not look like mountains.
    """
    (axes.set_yscale if which == "y" else axes.set_xscale)("log")
    low, high = sorted(axes.get_ylim() if which == "y" else axes.get_xlim())
    room = max(1.0, (_LEAST_FACTOR * low / high) ** 0.5)
    low, high = low / room, high * room
    (axes.set_ylim if which == "y" else axes.set_xlim)(low, high)
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_locator(FixedLocator(_steps(low, high)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def _steps(low: float, high: float) -> list[float]:
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    # The finest steps that leave room between the labels.
    for multiples in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        steps = [multiple * 10.0**e for e in exponents for multiple in multiples]
        inside = [step for step in steps if low <= step <= high]
        if len(inside) <= _MAX_TICKS:
            return inside
    return inside[:: math.ceil(len(inside) / _MAX_TICKS)]


def linear_ticks(axes: Axes, which: str = "y", *, is_whole: bool = False) -> None:
    """Give the axis few round steps and short labels."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_locator(
        MaxNLocator(_MAX_TICKS - 2, steps=[1, 2, 5, 10], integer=is_whole, min_n_ticks=2)
    )
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def short(value: float) -> str:
    """Return a number as an axis shows it: 12k for 12,000."""
    size = abs(value)
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= unit:
            return f"{value / (1e3 if letter == 'k' else unit):g}{letter}"
    return f"{value:.10g}"


def numbers(line: Values, scale: float = 1.0) -> npt.NDArray[np.float64]:
    """Return a line with gaps where it has no value."""
    return np.array([np.nan if value is None else value for value in line]) * scale
