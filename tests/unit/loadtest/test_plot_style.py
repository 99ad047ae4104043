"""Figures as text for a page."""

import re
from pathlib import Path

import numpy as np
import pytest

from loadtest.report.plot import style


def drawn(title: str = "A title") -> str:
    figure, axes = style.figure()
    axes.plot([1, 2, 3], [1, 2, 3], "o-", color=style.ONE, label="one")
    axes.axhline(2, color=style.BAD)
    style.legend(axes)
    return style.svg(figure, title)


def test_svg_takes_its_colours_from_the_page_and_its_size_from_the_card() -> None:
    text = drawn()

    assert "var(--one)" in text
    assert "var(--bad)" in text
    assert not style.SENTINEL.search(text)
    tag = text[: text.index(">")]
    assert "viewBox" in tag
    assert "width" not in tag
    assert "height" not in tag


def test_svg_is_the_same_every_time() -> None:
    assert drawn() == drawn()


def test_title_cannot_leave_its_attribute() -> None:
    assert 'aria-label="p99 &lt;&quot;&gt; of A &amp; B"' in drawn('p99 <"> of A & B')


def test_text_has_the_pages_font() -> None:
    assert "font-size: 11px" in drawn()
    assert "DejaVu" not in drawn()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.5, "0.5"),
        (1000, "1000"),
        (12_000, "12k"),
        (2_500_000, "2.5M"),
        (3e9, "3G"),
        (-20_000, "-20k"),
    ],
)
def test_axis_numbers_are_short(value: float, text: str) -> None:
    assert style.short(value) == text


@pytest.mark.parametrize(
    "span", [(1.0, 1.0), (2.29, 2.31), (0.05, 9000.0), (1e-3, 1e6), (3.0, 4.0)]
)
def test_logarithmic_axis_has_a_few_ticks_inside(span: tuple[float, float]) -> None:
    _, axes = style.figure()
    axes.plot([0, 1], span)

    style.log_ticks(axes)

    low, high = axes.get_ylim()
    ticks = axes.get_yticks()
    assert high / low >= 2.99
    assert 2 <= len(ticks) <= 7
    assert all(low <= tick <= high for tick in ticks)


def test_gaps_stay_gaps() -> None:
    line = style.numbers([1000.0, None, 3000.0], 1e-3)

    assert np.isnan(line).tolist() == [False, True, False]
    assert line[0] == pytest.approx(1.0)


def test_no_two_names_stand_for_one_colour() -> None:
    names = re.findall(
        r"^([A-Z_]+): Final = \"#", Path(style.__file__).read_text("utf-8"), re.MULTILINE
    )
    colours = [getattr(style, name) for name in names] + [*style.STAGES, *style.ON_STAGES]

    assert len(colours) == len(set(colours))
    assert all(style.SENTINEL.fullmatch(colour) for colour in colours)
