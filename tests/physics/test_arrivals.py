"""What three workers send arrives as one Poisson process, by the server's own clock.

The gaps between arrivals are compared with an exponential distribution whose mean is the rate
asked for (Kolmogorov-Smirnov: nothing is fitted to the data), and the counts in short windows with
their mean (index of dispersion, 1 for a Poisson process; its standard error is the root of 2 over
the windows). At 10 calls/s the gaps are long beside what lies between a send and the server's note
of it: caches are cold by then, and that takes from 1 to 4 ms on a small machine.

A schedule is drawn once and for all from its seed, so it has a p-value of its own, and one seed in
a hundred has one below 0.01. Over many seeds they must be even; the run takes a seed whose
schedule is an ordinary one (the first with p above 0.5 and an index within 5 %), so that what is
found is what sending and workers did to it.
"""

import math
from pathlib import Path

import exam
import numpy as np
import pytest
from queueing import Numbers, dispersion, exponential_distance, kolmogorov_p

from loadtest.arrivals.schedule import schedule
from loadtest.scenario.schema import Open

RATE, SECONDS, WORKERS = 10, 120.0, 3
# Two calls to a window: many windows, so a small standard error.
WINDOWS = round(RATE * SECONDS / 2)
REJECTED_AT = 0.01
SEED = 3
SEEDS = 400

pytestmark = pytest.mark.timeout(240)


def p_value(gaps_s: Numbers) -> float:
    return kolmogorov_p(exponential_distance(gaps_s, 1 / RATE), len(gaps_s))


def test_schedules_of_many_seeds_are_exponential(capsys: pytest.CaptureFixture[str]) -> None:
    found = np.array([p_value(np.diff(instants_s(seed))) for seed in range(SEEDS)])
    # Even p-values have exponential logarithms.
    p = kolmogorov_p(exponential_distance(-np.log(found), 1.0), SEEDS)
    exam.show(
        capsys,
        f"Schedules of {SEEDS} seeds against the exponential",
        share_below_0_01=float((found < 0.01).mean()),
        share_below_0_1=float((found < 0.1).mean()),
        share_below_0_5=float((found < 0.5).mean()),
        p_value_of_evenness=p,
        p_value_of_the_seed_below=found[SEED],
    )
    assert p > REJECTED_AT
    assert found[SEED] > 0.1


def instants_s(seed: int) -> Numbers:
    plan = schedule(Open(rate=RATE, duration_s=SECONDS, warmup_s=1, seed=seed))
    return plan.instants_ns / 1e9


def test_three_workers_are_one_poisson_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = (
        f'kind = "open"\nrate = {RATE}\nduration_s = {SECONDS}\nwarmup_s = 1\nseed = {SEED}\n'
    )
    theirs, ours = exam.cores()
    with exam.stub(tmp_path, "--service-ms", "0", on=theirs) as stub:
        options = ("--quiet", "--workers", str(WORKERS))
        run = exam.start(tmp_path, stub.target, scenario, *options, on=ours).finish()
        arrived = stub.arrivals_ns(len(run.calls))

    gaps = np.diff(arrived.astype(np.float64)) / 1e9
    distance = exponential_distance(gaps, 1 / RATE)
    p = kolmogorov_p(distance, len(gaps))
    planned, sent = (
        exponential_distance(
            np.diff(np.sort(run.calls.column(name)).astype(np.float64)) / 1e9, 1 / RATE
        )
        for name in ("scheduled_ns", "sent_ns")
    )
    index = dispersion(arrived, int(arrived[0]), int(arrived[-1]), WINDOWS)
    exam.show(
        capsys,
        f"Arrivals at the server from {WORKERS} workers, {len(arrived)} calls",
        D_n=distance,
        p_value=p,
        D_n_as_scheduled=planned,
        D_n_as_sent=sent,
        index_of_dispersion=f"{index:.3f} (standard error {math.sqrt(2 / WINDOWS):.3f})",
        calls_of_each_worker=str(np.bincount(run.calls.rows["worker"]).tolist()),
    )
    assert set(run.calls.rows["worker"].tolist()) == set(range(WORKERS))
    assert p > REJECTED_AT, run.advice
    assert index == pytest.approx(1, abs=0.1), run.advice
