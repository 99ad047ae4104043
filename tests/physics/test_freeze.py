"""A server that stops for two seconds shows in the percentiles as much as it should.

200 calls a second for 10 s, evenly spaced; each takes s = 20 ms, alongside the others. At some
moment the server is stopped for F = 2 s. Latency from the schedule is then a mixture: a call that
arrives while the server stands still, u after the stop, is answered F - u + s after it arrived;
every other one after s. A share of F / T = 20 % is spread evenly between s and F + s, so

    p50 = s,    p90 = F + 2 s - 0.1 T = 1.04 s,    p99 = F + 2 s - 0.01 T = 1.94 s

(the second s: calls in service at the stop wait for its end too; `stalled_quantile_s` has it in
full). Answering the 400 calls that have piled up takes some 50 ms; the tolerance covers it.
A generator whose callers wait would have sent a handful of calls in those two seconds, and
reported a p90 of s.
"""

from pathlib import Path

import exam
import pytest
from queueing import stalled_quantile_s

RATE, SECONDS, STALL_S, SERVICE_S = 200, 10.0, 2.0, 0.02
# The stall must lie inside the measured time, whatever the machine was slow in starting.
BEFORE_STALL = 700
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
TOLERANCE = 0.10

pytestmark = pytest.mark.timeout(180)


def test_a_stalled_server_has_the_percentiles_of_the_mixture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = (
        f'kind = "open"\nrate = {RATE}\nduration_s = {SECONDS}\nwarmup_s = 1\n'
        'arrivals = "constant"\nseed = 1\n'
    )
    options = ("--service-ms", str(SERVICE_S * 1e3), "--announce", str(BEFORE_STALL))
    theirs, ours = exam.cores()
    with exam.stub(tmp_path, *options, on=theirs) as stub:
        running = exam.start(tmp_path, stub.target, scenario, "--quiet", on=ours)
        stub.announced_call()
        stall_s = stub.stall(STALL_S)
        run = running.finish()

    expected = {
        name: stalled_quantile_s(quantile, SECONDS, stall_s, SERVICE_S)
        for name, quantile in QUANTILES.items()
    }
    clocks = run.report["latency_us"]
    found = {name: clocks["from_schedule"][name] / 1e6 for name in QUANTILES}
    exam.show(
        capsys,
        f"Server stopped for {stall_s:.3f} s in a run of {SECONDS:g} s at {RATE}/s",
        **{
            name: f"{found[name] * 1e3:8.1f} ms, theory {expected[name] * 1e3:8.1f} ms, "
            f"{found[name] / expected[name] - 1:+.1%}"
            for name in QUANTILES
        },
        sent=str(len(run.calls.measured)),
    )
    assert len(run.calls.measured) == RATE * SECONDS
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=TOLERANCE), f"{name}: {run.advice}"
