"""Where the time went: one bar per slice of latency, one part per stage."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes

from loadtest.analysis.figures import Slice
from loadtest.report import words
from loadtest.report.plot import style

# Part of the axis that a name of so many letters needs.
_LETTER: Final = 0.022
_ROW: Final = 0.17


def times(slices: Sequence[Slice]) -> str:
    """Draw mean ms per stage of the calls about each percentile."""
    figure, axes = style.figure(0.42 + _ROW * len(slices))
    widths = _widths(slices) / 1000
    totals = widths.sum(axis=1)
    _bars(axes, slices, widths, float(totals.max()))
    for row, total in enumerate(totals):
        axes.annotate(
            words.number(float(total)),
            (total, row),
            (4, 0),
            textcoords="offset points",
            va="center",
            color=style.INK,
        )
    # Room for the number behind the longest bar.
    axes.set_xlim(0, totals.max() * 1.14 or 1)
    style.linear_ticks(axes, which="x")
    axes.set_xlabel("mean ms per call")
    style.legend(axes, columns=3)
    return style.svg(figure, "Time in each stage of the calls about each percentile of latency")


def shares(slices: Sequence[Slice]) -> str:
    """Draw the share of each stage of the calls about each percentile."""
    figure, axes = style.figure(0.42 + _ROW * len(slices))
    widths = _widths(slices)
    widths = 100 * widths / np.maximum(widths.sum(axis=1, keepdims=True), 1e-9)
    _bars(axes, slices, widths, 100.0)
    axes.set_xlim(0, 100)
    style.linear_ticks(axes, which="x")
    axes.set_xlabel("% of the time of a call")
    style.legend(axes, columns=3)
    return style.svg(figure, "Share of each stage of the calls about each percentile of latency")


def _widths(slices: Sequence[Slice]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array([list(one.stages.values()) for one in slices], np.float64)


def _bars(
    axes: Axes,
    slices: Sequence[Slice],
    widths: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    whole: float,
) -> None:
    rows = np.arange(len(slices))
    left = np.zeros(len(slices))
    for column, name in enumerate(slices[0].stages):
        width = widths[:, column]
        axes.barh(
            rows,
            width,
            left=left,
            color=style.STAGES[column],
            edgecolor=style.CARD,
            linewidth=0.8,
            label=name,
            height=0.66,
        )
        for row in rows[width >= whole * _LETTER * (len(name) + 1)]:
            axes.text(
                left[row] + width[row] / 2,
                row,
                name,
                color=style.ON_STAGES[column],
                ha="center",
                va="center",
                fontsize=9.5,
            )
        left += width
    axes.set_yticks(rows, [f"p{one.percentile:g}" for one in slices])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
