import pytest
from load_rows import S, calls, row

from loadtest.analysis.phases import phases
from loadtest.analysis.window import Window
from loadtest.record.row import WARMUP
from loadtest.scenario.schema import AnyScenario, Closed, Open, Phase

SPIKE = Open(
    phases=(
        Phase(name="before", for_s=2, rate=1),
        Phase(for_s=1, rate=4),
        Phase(name="after", for_s=1, rate=1),
    )
)
ROWS = calls(
    row(500, 10, phase=WARMUP),
    row(1500, 2000, phase=0),
    row(3200, 1000, phase=1),
    row(3500, 100, phase=1, code=8),
    row(4500, 10, phase=2),
)


def test_each_stretch_has_its_calls_and_what_ended_in_it() -> None:
    before, spike, after = phases(ROWS, SPIKE, Window(S, 5 * S))

    assert [one.name for one in (before, spike, after)] == ["before", "2", "after"]
    assert [(one.from_s, one.to_s) for one in (before, spike, after)] == [(1, 3), (3, 4), (4, 5)]
    assert [one.latency_us.samples for one in (before, spike, after)] == [1, 1, 1]
    assert [one.errors for one in (before, spike, after)] == [0, 1, 0]
    # The call that was due in the first stretch ended in the second.
    assert [one.throughput.completed_per_s for one in (before, spike, after)] == [0, 2, 2]
    assert before.in_flight == pytest.approx(0.75)


def test_a_run_that_was_stopped_has_the_stretches_that_began() -> None:
    before, spike = phases(ROWS, SPIKE, Window(S, 7 * S // 2))

    assert (before.to_s, spike.from_s, spike.to_s) == (3, 3, 3.5)


@pytest.mark.parametrize("scenario", [Open(rate=1), Closed(in_flight=1)])
def test_a_single_stretch_is_the_run_itself(scenario: AnyScenario) -> None:
    assert phases(ROWS, scenario, Window(S, 5 * S)) == ()
