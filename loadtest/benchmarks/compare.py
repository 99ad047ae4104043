"""Measure sides in turn and say what their figures are of each other.

Turns go A B B A, so a machine that gets slower meanwhile slows every side; a claim is the median
of the ratios of turns that lie next to each other, not a ratio of medians.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

Figures = dict[str, float]
Side = Callable[[], Figures]
WIDTH = 150


class BenchFailed(Exception):
    """A measurement could not be made; the text says which."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """One side's figure over another's, turn by turn."""

    median: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Figures of every turn of every side. The first side is the one that the others are beside."""

    title: str
    turns: dict[str, list[Figures]]

    def median(self, side: str, figure: str) -> float:
        """Return the median over the turns of a side."""
        return median(turn[figure] for turn in self.turns[side])

    def ratio(self, side: str, figure: str) -> Ratio | None:
        """Return the first side's figure over another's; None when that was 0 in any turn."""
        ours = self.turns[self.first]
        ratios = [
            one[figure] / other[figure]
            for one, other in zip(ours, self.turns[side], strict=True)
            if other[figure]
        ]
        if len(ratios) < len(ours):
            return None
        return Ratio(median(ratios), min(ratios), max(ratios))

    def shared(self, side: str) -> list[str]:
        """Return the figures that the first side and another both have."""
        return [name for name in self.turns[self.first][0] if name in self.turns[side][0]]

    @property
    def first(self) -> str:
        """The side that the others are beside."""
        return next(iter(self.turns))

    def as_json(self) -> dict[str, Any]:
        """Return everything, for files and other programs."""
        ratios = {}
        for side in list(self.turns)[1:]:
            found = {figure: self.ratio(side, figure) for figure in self.shared(side)}
            ratios[side] = {
                figure: {"median": one.median, "lowest": one.lowest, "highest": one.highest}
                for figure, one in found.items()
                if one is not None
            }
        return {"title": self.title, "turns": self.turns, f"{self.first} over": ratios}


def interleave(title: str, sides: Mapping[str, Side], pairs: int) -> Comparison:
    """Measure the sides in turn, forwards and backwards, each `pairs` times."""
    turns: dict[str, list[Figures]] = {name: [] for name in sides}
    for number in range(pairs):
        order = list(sides) if number % 2 == 0 else list(sides)[::-1]
        for name in order:
            turns[name].append(sides[name]())
            shown = {figure: round(value, 3) for figure, value in turns[name][-1].items()}
            print(f"{title}: {name}: {shown}", file=sys.stderr)
    return Comparison(title, turns)


def show(comparison: Comparison) -> None:
    """Print the medians of each side, and the ratio of the first side to each other."""
    first, *others = comparison.turns
    pairs = len(comparison.turns[first])
    table = Table(title=f"{comparison.title}, {pairs} turns each, medians")
    table.add_column("figure")
    table.add_column(first, justify="right")
    for other in others:
        table.add_column(other, justify="right")
        table.add_column("ratio (lowest to highest)", justify="right")
    for figure in comparison.turns[first][0]:
        cells = [f"{comparison.median(first, figure):.3f}"]
        for other in others:
            cells += _beside(comparison, other, figure)
        table.add_row(figure, *cells)
    Console(width=WIDTH).print(table)


def _beside(comparison: Comparison, side: str, figure: str) -> list[str]:
    if figure not in comparison.shared(side):
        return ["", ""]
    ratio = comparison.ratio(side, figure)
    return [
        f"{comparison.median(side, figure):.3f}",
        f"{ratio.median:.3f} ({ratio.lowest:.3f} to {ratio.highest:.3f})" if ratio else "",
    ]
