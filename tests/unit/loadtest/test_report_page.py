"""The page of a run: it stands alone, says what matters first, and no run breaks it."""

import functools
import html.parser
import re

import finished_runs
import pytest

from loadtest.fabric.outcome import Finished
from loadtest.report.build import build
from loadtest.report.model import Report
from loadtest.report.page import html as render
from loadtest.report.plot import style

RUNS = (
    "steady",
    "overload",
    "steps",
    "mix",
    "silent",
    "nothing",
    "single",
    "stopped",
    "offline",
    "streams",
    "replay",
)
# Every element that has no end in HTML.
VOID = {"meta", "br", "link", "img", "hr"}


@functools.cache
def run(name: str) -> Finished:
    made: Finished = getattr(finished_runs, name)()
    return made


@functools.cache
def report(name: str) -> Report:
    return build(run(name))


@functools.cache
def page(name: str) -> str:
    return render(report(name), run(name).calls)


class Outline(html.parser.HTMLParser):
    """Elements in order, their attributes, and whether all that was opened was closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.mark.parametrize("name", RUNS)
def test_page_stands_alone(name: str) -> None:
    outline = Outline(page(name))

    assert outline.open == []
    assert {tag for tag, _ in outline.elements}.isdisjoint(
        {"script", "link", "img", "iframe", "object", "embed"}
    )
    for tag, attributes in outline.elements:
        assert not [key for key in attributes if key.startswith("on")], (tag, attributes)
        for key in ("src", "srcset", "action", "data"):
            assert key not in attributes
        for key in ("href", "xlink:href"):
            target = attributes.get(key) or "#"
            assert target.startswith("#") or target in {
                *("calls.npz", "report.json", "report.csv", "report.md"),
            }
    styles = page(name)[: page(name).index("</style>")]
    assert "@import" not in styles
    assert "url(" not in styles
    assert len(page(name)) < 1_000_000


@pytest.mark.parametrize("name", RUNS)
def test_every_colour_is_the_pages_own(name: str) -> None:
    text = page(name)
    drawn = text[text.index("</style>") :]

    assert not style.SENTINEL.search(text)
    assert set(re.findall(r"#[0-9a-f]{6}\b", drawn)) == set()
    defined = set(re.findall(r"(--[a-z0-9-]+):", text))
    assert set(re.findall(r"var\((--[a-z0-9-]+)\)", text)) <= defined


@pytest.mark.parametrize("name", RUNS)
def test_verdict_comes_first_with_every_reason(name: str) -> None:
    text = Outline(page(name)).text
    found = report(name)
    first = text.index(found.verdict.word, text.index(found.target))

    assert first < text.index("requests/s")
    for reason in found.verdict.reasons:
        assert first < text.index(reason.text) < text.index("requests/s")
        assert reason.advice in text
    for warning in found.verdict.warnings:
        assert warning in text


@pytest.mark.parametrize("name", RUNS)
def test_figures_have_names_and_marks_are_shared_only_when_equal(name: str) -> None:
    outline = Outline(page(name))
    named: dict[str, str] = {}

    for drawn in re.findall(r"<svg .*?</svg>", page(name), re.DOTALL):
        for tag, key, rest in re.findall(r'<(\w+) id="([^"]+)"(.*?)/?>', drawn):
            assert named.setdefault(key, rest) == rest, (tag, key)

    for figure in outline.named("svg"):
        assert figure["role"] == "img"
        assert figure["aria-label"]
        assert "width" not in figure
    assert all(one["aria-label"] for one in outline.named("div") if one.get("tabindex") == "0")


def test_texts_of_errors_are_shown_and_do_nothing() -> None:
    text = page("mix")

    assert "<script" not in text
    assert "&lt;script&gt;alert(" in text
    assert finished_runs.HOSTILE.split("\n")[0] in Outline(text).text


def test_percentile_without_its_samples_is_no_number() -> None:
    text = Outline(page("single")).text

    for needed in ("n<7", "n<44", "n<90", "n<459", "n<4603"):
        assert needed in text


def test_sections_appear_where_there_is_something_to_say() -> None:
    assert "Latency against throughput" in page("steps")
    assert "Latency against throughput" not in page("steady")
    assert "first response" in page("streams")
    assert "first response" not in page("steady")
    assert "GPU power" in page("mix")
    assert "GPU power" not in page("steady")
    assert "Where the time goes" not in page("silent")
    assert "No call was answered" in page("silent")
    assert "no server found" in page("silent").lower()
    assert "bound holds" in page("steady")
    assert "bound does not hold" in page("overload")


def test_phases_are_named_in_the_figures() -> None:
    curve = re.search(r'<svg [^>]*aria-label="Latency against.*?</svg>', page("steps"), re.DOTALL)

    assert curve is not None
    assert [f"{rate}/s" for rate in (50, 100, 200, 300)] == [
        label for label in re.findall(r">(\d+/s)</text>", curve[0]) if label in curve[0]
    ][:4]


def test_dark_light_print_and_narrow_are_provided_for() -> None:
    text = page("steady")

    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert '<meta name="viewport" content="width=device-width' in text


def test_page_of_many_calls_stays_small() -> None:
    many = finished_runs.big(100_000)

    assert len(render(build(many), many.calls)) < 300_000
