import math
from collections.abc import Callable

import pytest

from loadtest.analysis.confidence import minimum_samples
from loadtest.analysis.figures import Bound, Reason, Verdict
from loadtest.scenario.lengths import Fixed
from loadtest.scenario.requests import Request
from loadtest.scenario.schema import BadScenario, Closed, Offline, Open, Phase, Replay
from loadtest.search import scenarios
from loadtest.search.length import SLACK_OVER, TooLong, samples_wanted, seconds
from loadtest.search.outcome import judge
from loadtest.search.peak import End, Outcome, Rules, Stage, Trial, Tried, decide

RULES = Rules(start=100)


def search(
    outcome: Callable[[Trial, int], Outcome], rules: Rules = RULES
) -> tuple[End, list[Tried]]:
    """Search to the end; the n-th run's outcome is what the function says of it."""
    tried: list[Tried] = []
    while len(tried) < 200:
        step = decide(tried, rules)
        if isinstance(step, End):
            return step, tried
        tried.append(Tried(step.stage, step.rate, outcome(step, len(tried))))
    pytest.fail("the search has no end")


def stages(tried: list[Tried]) -> list[Stage]:
    return [each.stage for each in tried]


def test_widens_then_bisects_then_confirms() -> None:
    end, tried = search(lambda step, _: "holds" if step.rate <= 730 else "fails")

    assert [each.rate for each in tried[:4]] == [100, 200, 400, 800]
    assert stages(tried) == ["widen"] * 4 + ["bisect"] * 4 + ["confirm"] * 3
    assert end.reason == "found"
    assert end.rate <= 730 < end.rate * 1.05
    # The gap is halved in ratio.
    assert tried[4].rate == pytest.approx(math.sqrt(400 * 800))
    assert {each.rate for each in tried[-3:]} == {end.rate}


def test_a_start_that_is_too_high_is_halved() -> None:
    end, tried = search(lambda step, _: "holds" if step.rate <= 7 else "fails")

    assert [each.rate for each in tried[:5]] == [100, 50, 25, 12.5, 6.25]
    assert end.rate == pytest.approx(7, rel=0.05)


def test_a_server_that_never_holds_ends_the_search() -> None:
    end, _ = search(lambda *_: "fails")

    assert end == End("none", RULES.lowest)


def test_the_highest_rate_is_confirmed_too() -> None:
    end, tried = search(lambda *_: "holds", Rules(start=100, highest=500))

    assert [each.rate for each in tried] == [100, 200, 400, 500, 500, 500, 500]
    assert end == End("highest", 500)


def test_a_rate_that_held_by_luck_is_stepped_down_from() -> None:
    """730 is what the search sees; with new seeds only 600 holds."""
    end, tried = search(
        lambda step, _: (
            "holds" if step.rate <= (600 if step.stage == "confirm" else 730) else "fails"
        )
    )

    assert end.reason == "found"
    assert end.rate <= 600 < end.rate * 1.05
    confirming = [each.rate for each in tried if each.stage == "confirm"]
    assert confirming == sorted(confirming, reverse=True)
    assert confirming[-3:] == [end.rate] * 3


def test_one_failure_among_confirmations_is_one_too_many() -> None:
    end, tried = search(lambda step, place: "fails" if step.rate > 730 or place == 10 else "holds")

    assert [each.outcome for each in tried[8:]] == ["holds", "holds", "fails"] + ["holds"] * 3
    assert end.rate == pytest.approx(tried[8].rate / 1.05)


def test_what_is_never_confirmed_is_not_found() -> None:
    end, tried = search(
        lambda step, _: "fails" if step.stage == "confirm" or step.rate > 730 else "holds"
    )

    assert end.reason == "unconfirmed"
    assert stages(tried).count("confirm") == RULES.steps_down + 1
    assert end.rate == tried[-1].rate


def test_a_late_generator_says_nothing_and_its_run_is_repeated() -> None:
    end, tried = search(
        lambda step, place: "late" if place == 2 else "holds" if step.rate < 730 else "fails"
    )

    assert [each.rate for each in tried[:5]] == [100, 200, 400, 400, 800]
    assert end.reason == "found"


@pytest.mark.parametrize("stage", ["widen", "bisect", "confirm"])
def test_a_generator_that_stays_late_ends_the_search(stage: Stage) -> None:
    end, tried = search(
        lambda step, _: "late" if step.stage == stage else "holds" if step.rate < 730 else "fails"
    )

    assert end == End("generator", tried[-1].rate)
    assert [each.outcome for each in tried[-3:]] == ["late"] * 3


def test_a_run_that_says_nothing_ends_the_search() -> None:
    end, tried = search(lambda *_: "unclear")

    assert end == End("unclear", 100)
    assert len(tried) == 1


def verdict(*rules: str) -> Verdict:
    reasons = tuple(Reason(rule, "text", "advice") for rule in rules)  # type: ignore[arg-type]
    return Verdict(not reasons, reasons, ())


def bound(*, holds: bool, allowed_over: int | None = 10) -> Bound:
    return Bound(
        percentile=99, bound=50_000, samples=2000, over=0, allowed_over=allowed_over, holds=holds
    )


@pytest.mark.parametrize(
    ("rules", "holds", "expected"),
    [
        ((), True, "holds"),
        ((), False, "fails"),
        (("keeps-up", "steady"), True, "fails"),
        (("errors",), False, "fails"),
        (("errors", "samples"), False, "fails"),
        # A late generator excuses all else: what it sends late it sends in bursts.
        (("lag", "keeps-up", "errors"), False, "late"),
        (("undisturbed",), True, "unclear"),
        (("restarts", "errors"), False, "unclear"),
        # Latencies so long that the run was short for them.
        (("duration",), False, "fails"),
        (("duration",), True, "unclear"),
        (("samples",), True, "unclear"),
    ],
)
def test_what_a_run_says_of_its_rate(
    rules: tuple[str, ...], *, holds: bool, expected: Outcome
) -> None:
    assert judge(verdict(*rules), bound(holds=holds), was_stopped_full=False) == expected


def test_too_many_in_flight_is_overload_and_no_disturbance() -> None:
    stopped = verdict("undisturbed", "duration")

    assert judge(stopped, bound(holds=True), was_stopped_full=True) == "fails"
    assert judge(stopped, bound(holds=True), was_stopped_full=False) == "unclear"


def test_too_few_samples_do_not_break_a_bound() -> None:
    short = bound(holds=False, allowed_over=None)

    assert judge(verdict("samples"), short, was_stopped_full=False) == "unclear"


def test_a_run_has_room_for_calls_over_the_bound() -> None:
    wanted = samples_wanted(99)

    assert wanted > minimum_samples(99, SLACK_OVER) == 2010
    assert seconds(100, 99, at_least_s=5, at_most_s=600) == pytest.approx(wanted / 100, abs=0.1)
    assert seconds(10_000, 99, at_least_s=5, at_most_s=600) == 5


def test_a_run_that_would_take_too_long_says_what_would_not() -> None:
    with pytest.raises(TooLong, match=r"p99 at 2 calls/s .* --percentile 95 takes 2\d\d s"):
        seconds(2, 99, at_least_s=5, at_most_s=600)
    with pytest.raises(TooLong, match="even the median takes"):
        seconds(0.01, 99, at_least_s=5, at_most_s=600)


REQUESTS = (Request(rpc="tokenize", lengths=Fixed(tokens=5)),)


@pytest.mark.parametrize(
    "scenario",
    [
        Closed(in_flight=3, requests=REQUESTS, percentile=95, bound_ms=10, deadline_s=3),
        Offline(calls=9, requests=REQUESTS, percentile=95, bound_ms=10, deadline_s=3),
        Open(rate=5, requests=REQUESTS, percentile=95, bound_ms=10, deadline_s=3),
    ],
    ids=lambda one: type(one).__name__,
)
def test_every_scenario_lends_its_requests(scenario: Closed | Offline | Open) -> None:
    scenarios.check(scenario)
    opened = scenarios.at_rate(scenario, 70, seed=4, duration_s=8)
    closed = scenarios.at_in_flight(scenario, 7, seed=4, duration_s=8)

    for made in (opened, closed):
        assert made.requests == REQUESTS
        assert (made.percentile, made.bound_ms, made.deadline_s) == (95, 10, 3)
        assert (made.seed, made.duration_s) == (4, 8)
    assert (opened.rate, closed.in_flight) == (70, 7)


def test_arrivals_stay_those_of_an_open_scenario() -> None:
    constant = Open(rate=5, arrivals="constant", max_in_flight=77, duration_s=4)

    changed = scenarios.at_rate(constant, 70, seed=4, duration_s=8)

    assert (changed.arrivals, changed.max_in_flight) == ("constant", 77)
    assert scenarios.seconds(constant) == 4
    assert scenarios.seconds(Offline(calls=1)) == scenarios.DEFAULT_S


@pytest.mark.parametrize(
    "scenario", [Open(phases=(Phase(for_s=5, rate=5),)), Replay(trace="calls.csv")]
)
def test_what_has_no_single_rate_is_refused(scenario: Open | Replay) -> None:
    with pytest.raises(BadScenario, match="search with"):
        scenarios.check(scenario)
