"""The version policy: which versions serve, and everything that is wrong with it."""

import pytest

from server.versions import Choice, describe_missing, parse, parse_choice

PRESENT = [1, 3, 10]


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("latest", [10]),
        ("latest:2", [3, 10]),
        ("latest:9", [1, 3, 10]),
        ("all", [1, 3, 10]),
        ("3", [3]),
        ("1+10", [1, 10]),
        ("10+1+1", [1, 10]),
        ("2", []),
    ],
)
def test_choice_picks_among_those_present(text: str, chosen: list[int]) -> None:
    choice = parse_choice(text)

    assert choice is not None
    assert choice.pick(PRESENT) == chosen


@pytest.mark.parametrize(
    "text",
    ["", "newest", "latest:0", "latest:", "latest:1+2", "all:2", "1+", "0", "-1", "1.5", "\u0663"],
)
def test_what_is_no_choice_is_refused(text: str) -> None:
    assert parse_choice(text) is None


@pytest.mark.parametrize("text", ["latest", "latest:3", "all", "1+3"])
def test_choice_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_choice(text)) == text


def test_models_have_choices_of_their_own() -> None:
    policy, problems = parse("minilm=1+3, other=all ,latest:2")

    assert problems == []
    assert policy.of("minilm") == Choice(exactly=frozenset({1, 3}))
    assert policy.of("other") == Choice(0)
    assert policy.of("third") == Choice(2)


def test_models_without_an_entry_serve_their_latest() -> None:
    assert parse("minilm=1")[0].of("other").pick(PRESENT) == [10]


def test_every_problem_is_named() -> None:
    _, problems = parse("a=first,a=1,a=2,=3,4,latest,all")

    assert len(problems) == 5
    for hint in ("'first'", "two entries", "names no model", "NAME=4", "latest and all"):
        assert any(hint in problem for problem in problems), hint


def test_versions_that_are_not_there_are_named() -> None:
    choice = Choice(exactly=frozenset({1, 2, 4}))

    assert describe_missing("minilm", choice, [1, 3]) == (
        "model 'minilm' has no version 2, 4 in the repository; it has 1, 3"
    )
    assert describe_missing("minilm", choice, [1, 2, 4]) == ""
