"""Poisson arrivals at one constant server wait as long as theory says: M/D/1.

Two comparisons, because one run is a sample. Its own arrivals are known, so the wait of each call
follows from them exactly (Lindley's recursion): what the harness reports must agree with that
closely. The formula is about endless runs; over a minute or two the mean differs from it by 5 %
(standard error, printed) whoever measures. The seed is therefore the first whose arrivals are
typical, decided before anything is measured; what remains is what the harness adds.

The mean wait is the mean latency from the schedule, less the service time, less what calls cost
here on average that meet an empty queue (network and processes, about a millisecond).
"""

from pathlib import Path

import exam
import pytest
from queueing import md1_mean_wait, md1_standard_error, waits_ns

from loadtest.arrivals.schedule import schedule
from loadtest.scenario.schema import Open

SERVICE_MS = 5.0
SERVICE_S, SERVICE_NS = SERVICE_MS / 1e3, round(SERVICE_MS * 1e6)
# Long enough for a standard error below 5 %.
SECONDS = {0.5: 60.0, 0.7: 90.0, 0.8: 150.0}
WARMUP_S = 3.0
TYPICAL = 0.02
FROM_FORMULA = 0.10
FROM_RECURSION = 0.05

pytestmark = pytest.mark.timeout(400)


def typical_seed(load: float) -> int:
    """Return the first seed whose arrivals have nearly the formula's mean wait."""
    for seed in range(1, 1000):
        rate = load / SERVICE_S
        plan = schedule(Open(rate=rate, duration_s=SECONDS[load], warmup_s=WARMUP_S, seed=seed))
        mean_s = waits_ns(plan.instants_ns, SERVICE_NS)[plan.phases >= 0].mean() / 1e9
        if abs(mean_s / md1_mean_wait(load, SERVICE_S) - 1) < TYPICAL:
            return seed
    raise AssertionError("no seed is typical")


@pytest.mark.parametrize("load", [0.5, 0.7, 0.8])
def test_mean_wait_is_that_of_theory(
    load: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = (
        f'kind = "open"\nrate = {load / SERVICE_S}\nduration_s = {SECONDS[load]}\n'
        f"warmup_s = {WARMUP_S}\nseed = {typical_seed(load)}\n"
    )
    with exam.stub(tmp_path, "--queue", "--service-ms", str(SERVICE_MS)) as stub:
        run = exam.start(tmp_path, stub.target, scenario, "--quiet").finish()

    waits = waits_ns(run.calls.column("scheduled_ns"), SERVICE_NS)
    measured = run.calls.rows["phase"] >= 0
    beyond_service = (run.calls.latency_ns - SERVICE_NS)[measured]
    expected = waits[measured]
    overhead = float(beyond_service[expected == 0].mean())
    mean_ms = (beyond_service.mean() - overhead) / 1e6
    recursion_ms = expected.mean() / 1e6
    formula_ms = md1_mean_wait(load, SERVICE_S) * 1e3
    exam.show(
        capsys,
        f"M/D/1 at load {load:g}: mean wait in ms, {measured.sum()} calls",
        formula=formula_ms,
        these_arrivals=recursion_ms,
        measured=mean_ms,
        by_the_server=run.calls.column("queue_ns")[measured].mean() / 1e6,
        measured_against_formula=f"{mean_ms / formula_ms - 1:+.1%}",
        measured_against_these_arrivals=f"{mean_ms / recursion_ms - 1:+.1%}",
        standard_error_of_such_a_run=f"{md1_standard_error(load, SERVICE_S, SECONDS[load]):.1%}",
        a_call_without_wait_costs=overhead / 1e6,
        lag_p99_ms=run.report["lag_us"]["p99"] / 1e3,
    )
    assert not run.report["errors"]
    assert mean_ms == pytest.approx(recursion_ms, rel=FROM_RECURSION), run.advice
    assert mean_ms == pytest.approx(formula_ms, rel=FROM_FORMULA), run.advice
