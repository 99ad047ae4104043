from hypothesis import given
from hypothesis import strategies as st

from loadtest.search.peak import End, Outcome, Rules, Tried, decide

rates = st.floats(0.02, 500_000)
MOST_RUNS = 120


def run(limit: float, rules: Rules, confirmed: float) -> tuple[End, list[Tried]]:
    """Search a server that holds up to a limit, and up to another one when confirming."""
    tried: list[Tried] = []
    for _ in range(MOST_RUNS):
        step = decide(tried, rules)
        if isinstance(step, End):
            return step, tried
        holds = step.rate <= (confirmed if step.stage == "confirm" else limit)
        tried.append(Tried(step.stage, step.rate, "holds" if holds else "fails"))
    raise AssertionError("the search has no end")


@given(limit=rates, start=rates, width=st.floats(0.01, 1))
def test_finds_every_limit_to_its_width(limit: float, start: float, width: float) -> None:
    end, tried = run(limit, Rules(start=start, width=width), limit)

    assert end.reason == "found"
    assert end.rate <= limit <= end.rate * (1 + width) * (1 + 1e-9)
    assert [each.outcome for each in tried[-3:]] == ["holds"] * 3


@given(limit=rates, start=rates, share=st.floats(0.5, 1))
def test_what_is_found_was_confirmed_in_a_row(limit: float, start: float, share: float) -> None:
    rules = Rules(start=start, confirmations=4)
    end, tried = run(limit, rules, limit * share)

    if end.reason == "found":
        assert [(each.stage, each.rate, each.outcome) for each in tried[-4:]] == [
            ("confirm", end.rate, "holds")
        ] * 4
    else:
        assert end.reason == "unconfirmed"
        # As many steps down as there may be were not enough.
        assert share < 1 / (1 + rules.width) ** (rules.steps_down - 1)


outcomes = st.lists(st.sampled_from(["holds", "fails", "late", "unclear"]), max_size=80)


@given(outcomes, rates)
def test_every_course_of_events_ends_and_repeats_what_was_late(
    course: list[Outcome], start: float
) -> None:
    tried: list[Tried] = []
    for outcome in course:
        step = decide(tried, Rules(start=start))
        if isinstance(step, End):
            assert (step.reason in {"generator", "unclear"}) == (
                tried[-1].outcome in {"late", "unclear"}
            )
            return
        assert 0.01 <= step.rate <= 1_000_000
        if tried and tried[-1].outcome == "late":
            assert (step.stage, step.rate) == (tried[-1].stage, tried[-1].rate)
        tried.append(Tried(step.stage, step.rate, outcome))
