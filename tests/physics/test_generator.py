"""How late the generator is, and that it says so when it cannot keep up.

A thousand calls a second on one worker are sent on time where the stub has a core of its own. Far
beyond what a process can send the run is INVALID: a run that was late may never pass for a
measurement of the server.
"""

from pathlib import Path

import exam
import pytest

LATE_US = 2000
# What a single process cannot do, however fast the machine.
TOO_MUCH = 50_000
RATES = (500, 1000, 1500, 2000, 3000, 4000)

pytestmark = pytest.mark.timeout(240)


def scenario(rate: int, seconds: float) -> str:
    return f'kind = "open"\nrate = {rate}\nduration_s = {seconds}\nwarmup_s = 1\nseed = 1\n'


def test_a_thousand_a_second_are_sent_on_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, ours = exam.cores()
    with exam.stub(tmp_path, "--service-ms", "20", on=theirs) as stub:
        run = exam.start(tmp_path, stub.target, scenario(1000, 15), "--quiet", on=ours).finish()

    lag = run.report["lag_us"]
    worker = run.report["workers"][0]
    exam.show(
        capsys,
        "One worker, 1,000 calls/s",
        lag=f"p50 {lag['p50']:.0f} us, p99 {lag['p99']:.0f} us, max {lag['max']:.0f} us",
        latency_p99_us=run.report["latency_us"]["from_schedule"]["p99"],
        cpu=f"{worker['cpu_us_per_call']:.0f} us per call",
        verdict=run.word,
    )
    assert lag["of"] == "sends"
    assert lag["p99"] < LATE_US, run.advice
    assert worker["lag_p99_us"] == pytest.approx(lag["p99"], rel=0.01)


def test_what_cannot_be_held_is_invalid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with exam.stub(tmp_path, "--service-ms", "0") as stub:
        run = exam.start(tmp_path, stub.target, scenario(TOO_MUCH, 1), "--quiet").finish()

    lag, throughput = run.report["lag_us"], run.report["throughput"]
    exam.show(
        capsys,
        f"One worker, {TOO_MUCH} calls/s",
        lag_p99_ms=lag["p99"] / 1e3,
        completed_per_s=throughput["completed_per_s"],
        broken_rules=", ".join(sorted(run.rules)),
    )
    assert run.code == exam.INVALID
    assert run.rules & {"lag", "keeps-up"}


def test_no_rate_is_valid_that_was_late(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From idle to saturated: lag alone decides, whatever this machine can hold."""
    lines = {}
    for rate in RATES:
        folder = tmp_path / str(rate)
        folder.mkdir()
        theirs, ours = exam.cores()
        with exam.stub(folder, "--service-ms", "0", on=theirs) as stub:
            run = exam.start(folder, stub.target, scenario(rate, 5), "--quiet", on=ours).finish()
        lag, worker = run.report["lag_us"], run.report["workers"][0]
        lines[f"{rate}/s"] = (
            f"lag p50 {lag['p50']:6.0f} us  p99 {lag['p99']:7.0f} us  "
            f"{worker['cpu_cores']:.2f} cores  {run.word}"
        )
        p99 = run.report["latency_us"]["from_schedule"]["p99"]
        if run.code == exam.VALID:
            assert lag["p99"] < max(LATE_US, p99)
    exam.show(capsys, "One worker, the stub on the same machine", **lines)
