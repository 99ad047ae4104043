"""Run one load level after the other, and say where the curve bends."""

from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

from loadtest.errors import RunFailed
from loadtest.report import words
from loadtest.report.model import Report
from loadtest.scenario.schema import AnyScenario
from loadtest.search import phrases, scenarios
from loadtest.search.knee import Spot, knee, saturation
from loadtest.search.ladder import Seen, next_in_flight, next_rate
from loadtest.search.model import Point, Sweep
from loadtest.search.peak import LATE_RUNS
from loadtest.search.runs import Runs, summary, was_stopped_full

Over = Literal["in-flight", "rate"]
State = Literal["valid", "overloaded", "late", "unclear"]

_OVERLOAD: Final = frozenset({"errors", "keeps-up", "steady"})
# The run that measures where an automatic sweep over rates begins.
_START_IN_FLIGHT: Final = 16
_START_S: Final = 3.0
# Four doublings below half of what it gets.
_START_SHARE: Final = 1 / 16


def sweep(runs: Runs, over: Over, levels: Sequence[float]) -> Sweep:
    """Run the levels, or without any double until throughput is flat or the generator late.

    Raises:
        RunFailed: a run could not be done.
    """
    points: list[Point] = []
    choose = _chooser(runs, over, levels)
    while (level := choose(points)) is not None:
        points.append(_point(runs, over, level, len(points)))
        if not levels and points[-1].state == "late":
            break
    return _result(runs, over, points)


def _chooser(
    runs: Runs, over: Over, levels: Sequence[float]
) -> Callable[[Sequence[Point]], float | None]:
    if levels:
        return lambda points: levels[len(points)] if len(points) < len(levels) else None
    if over == "in-flight":
        return lambda points: next_in_flight([_seen(point) for point in points])
    start = _start(runs)
    return lambda points: next_rate([_seen(point) for point in points], start)


def _seen(point: Point) -> Seen:
    return Seen(point.level, point.run.answered_per_s, point.state == "valid")


def _start(runs: Runs) -> float:
    base = runs.plan.scenario
    scenario = scenarios.at_in_flight(base, _START_IN_FLIGHT, base.seed, _START_S)
    runs.say(f"{_START_IN_FLIGHT} in flight for {_START_S:g} s, to see where to begin")
    report, _ = runs.run("00-start", scenario)
    if report.throughput.requests_per_s == 0:
        raise RunFailed(
            f"no call was answered ({', '.join(report.codes)}): see {runs.folder / '00-start'},"
            " or give the rates, as in --over rate 50,100"
        )
    return report.throughput.requests_per_s * _START_SHARE


def _point(runs: Runs, over: Over, level: float, place: int) -> Point:
    folder = f"{place + 1:02d}-{over}-{level:.4g}"
    scenario = _scenario(runs.plan.scenario, over, level)
    unit = "in flight" if over == "in-flight" else "calls/s"
    for _ in range(LATE_RUNS):
        runs.say(f"{level:.4g} {unit} for {scenarios.seconds(scenario):g} s")
        report, finished = runs.run(folder, scenario)
        state = _state(report, was_stopped_full=was_stopped_full(finished))
        said = summary(report, folder)
        answered = f"{words.rate(said.answered_per_s)} answered/s"
        broken = "; ".join(reason.text for reason in said.reasons)
        mean = words.duration(said.latency_us.mean)
        runs.say(f"  {state}: {answered}, mean {mean}{f' ({broken})' if broken else ''}")
        if state != "late":
            break
    return Point(level=level, state=state, is_knee=False, is_saturation=False, run=said)


def _scenario(base: AnyScenario, over: Over, level: float) -> AnyScenario:
    lasts_s = scenarios.seconds(base)
    if over == "rate":
        return scenarios.at_rate(base, level, base.seed, lasts_s)
    return scenarios.at_in_flight(base, int(level), base.seed, lasts_s)


def _state(report: Report, *, was_stopped_full: bool) -> State:
    broken = {reason.rule for reason in report.verdict.reasons}
    if "lag" in broken:
        return "late"
    if was_stopped_full or broken & _OVERLOAD:
        return "overloaded"
    return "unclear" if broken else "valid"


def _result(runs: Runs, over: Over, points: list[Point]) -> Sweep:
    usable = [point for point in points if point.state in {"valid", "overloaded"}]
    spots = [
        Spot(point.level, point.run.answered_per_s, point.run.latency_us.mean) for point in usable
    ]
    # An overloaded point's latency is that of a queue without end: it grows with the run.
    steady = [spot for spot, point in zip(spots, usable, strict=True) if point.state == "valid"]
    bend, full = knee(steady), saturation(spots)
    marked = tuple(
        msgspec.structs.replace(
            point, is_knee=point.level == bend, is_saturation=point.level == full
        )
        for point in points
    )
    workers = runs.plan.expect_workers or runs.plan.workers
    text, advice = phrases.sweep(over, marked, workers)
    return Sweep(
        subject=runs.subject(),
        over=over,
        knee=bend,
        saturation=full,
        text=text,
        advice=advice,
        points=marked,
    )
