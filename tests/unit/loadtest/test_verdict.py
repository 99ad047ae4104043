import msgspec
import pytest

from loadtest.verdict import Evidence, judge

GOOD = Evidence(
    kind="open",
    percentile=99,
    samples=1000,
    errors=0,
    max_error_rate=0,
    p99_us=10_000,
    lag_p99_us=400,
    offered=1000,
    completed=999,
    in_flight_quarters=(4, 5, 4, 5),
)


def rules(**changes: object) -> list[str]:
    return [reason.rule for reason in judge(msgspec.structs.replace(GOOD, **changes)).reasons]


def test_a_good_run_is_valid() -> None:
    verdict = judge(GOOD)

    assert verdict.word == "VALID"
    assert verdict.reasons == ()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"samples": 458}, ["samples"]),
        ({"samples": 459}, []),
        ({"percentile": 99.9}, ["samples"]),
        ({"errors": 1}, ["errors"]),
        ({"errors": 1, "max_error_rate": 0.01}, []),
        # Half a millisecond is always allowed, then 5 % of the p99.
        ({"p99_us": 1_000, "lag_p99_us": 500}, []),
        ({"p99_us": 1_000, "lag_p99_us": 501}, ["lag"]),
        ({"p99_us": 100_000, "lag_p99_us": 5_000}, []),
        ({"p99_us": 100_000, "lag_p99_us": 5_001}, ["lag"]),
        ({"completed": 980}, ["keeps-up"]),
        # Ten calls of a full pipeline, cut off at the edges of the window.
        ({"offered": 600, "completed": 591, "in_flight_quarters": (10, 9, 10, 11)}, []),
        ({"in_flight_quarters": (1, 9, 17, 25)}, ["steady"]),
        # A stall in the middle that drained.
        ({"in_flight_quarters": (1, 90, 17, 1)}, []),
        # From nearly nothing to little more: chance.
        ({"in_flight_quarters": (0.1, 0.4, 0.9, 1.2)}, []),
        ({"disturbances": ("interrupted",)}, ["undisturbed"]),
        ({"samples": 3, "errors": 2, "lag_p99_us": 9000}, ["samples", "errors", "lag"]),
    ],
)
def test_each_rule_speaks_for_itself(changes: dict[str, object], expected: list[str]) -> None:
    assert rules(**changes) == expected


def test_a_closed_loop_is_not_judged_by_its_arrivals() -> None:
    assert (
        rules(kind="closed", lag_p99_us=9000, completed=10, in_flight_quarters=(1, 9, 17, 25)) == []
    )


def test_reasons_say_what_they_saw_and_what_helps() -> None:
    (reason,) = judge(msgspec.structs.replace(GOOD, samples=100)).reasons

    assert reason.text == "p99 needs 459 answered calls, there were 100"
    assert "--duration" in reason.advice
