"""How often a comparison is wrong, on machines that are as unkind as real ones.

Every machine has autocorrelated latencies, and a speed that wanders from run to run and is shared
by neighbours in ABBA. The limits are those of the harness: at most 3 false alarms in 40
comparisons of the same with the same, and a slowdown of 5 % found at least 9 times in 10.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest

from loadtest.compare.bootstrap import Side
from loadtest.compare.decision import Limits
from loadtest.compare.metrics import Couple, Metric, compare
from loadtest.compare.sample import Sample

PAIRS = 8
ANSWERS = 300


@dataclass(frozen=True)
class Machine:
    spread: float
    """Standard deviation of the logarithm of a latency."""
    correlation: float
    """Of neighbouring requests."""
    run: float = 0.0
    """Of a run's speed that its neighbour does not share."""
    wander: float = 0.0
    """Of the step of its speed from one run to the next."""
    drift: float = 0.0
    """Of the logarithm of its speed over the whole comparison."""
    spikes: float = 0.0
    """Share of requests that take five times as long."""
    disturbed: float = 0.0
    """Share of runs that something else slows down by a tenth to a half."""


MACHINES = {
    "queueing": Machine(spread=0.08, correlation=0.8),
    "drifting": Machine(spread=0.08, correlation=0.5, run=0.003, wander=0.007, drift=0.3),
    "spiky": Machine(spread=0.08, correlation=0.5, spikes=0.005, run=0.003),
    "disturbed": Machine(spread=0.05, correlation=0.3, run=0.003, disturbed=0.04),
    "uneven": Machine(spread=0.05, correlation=0.3, run=0.01),
}
# The median is drawn from the same requests, at ten times the cost.
CASES = [*((name, Metric("throughput")) for name in MACHINES), ("queueing", Metric("p50", 50.0))]


def run(machine: Machine, speed: float, draw: np.random.Generator) -> Sample:
    steps = draw.normal(size=ANSWERS) * np.sqrt(1 - machine.correlation**2)
    steps[0] = draw.normal()
    state, states = 0.0, np.empty(ANSWERS)
    for place, step in enumerate(steps.tolist()):
        state = machine.correlation * state + step
        states[place] = state
    level = speed + machine.run * draw.normal()
    if draw.random() < machine.disturbed:
        level += draw.uniform(0.1, 0.4)
    latency_us = 2000 * np.exp(level + machine.spread * states)
    latency_us[draw.random(ANSWERS) < machine.spikes] *= 5
    # Four in flight.
    return Sample(np.arange(ANSWERS), latency_us, 4e6 / float(latency_us.mean()))


def couples(machine: Machine, effect: float, draw: np.random.Generator) -> list[Couple]:
    speeds = np.cumsum(machine.wander * draw.normal(size=2 * PAIRS))
    speeds += np.linspace(0, machine.drift, 2 * PAIRS)
    made = []
    for pair in range(PAIRS):
        first: Side = "B" if pair % 2 else "A"
        early, late = speeds[2 * pair], speeds[2 * pair + 1]
        a, b = (early, late) if first == "A" else (late, early)
        slower = b + np.log(effect)
        made.append(
            Couple(run(machine, a, draw), run(machine, slower, draw), first, is_shared=False)
        )
    return made


def verdicts(machine: Machine, effect: float, times: int, metric: Metric) -> Counter[str]:
    counted: Counter[str] = Counter()
    for time in range(times):
        draw = np.random.default_rng([time, round(effect * 100), 7])
        found = compare(couples(machine, effect, draw), (metric, Metric("mean")), Limits())
        counted[found[0].decision] += 1
    return counted


@pytest.mark.parametrize(("name", "metric"), CASES)
def test_the_same_is_rarely_called_different(name: str, metric: Metric) -> None:
    counted = verdicts(MACHINES[name], 1.0, 40, metric)

    # Half of what is allowed, so that the method holds with a margin.
    assert counted["better"] + counted["worse"] <= 1, counted


@pytest.mark.parametrize(("name", "metric"), CASES)
def test_five_percent_more_latency_is_found(name: str, metric: Metric) -> None:
    counted = verdicts(MACHINES[name], 1.05, 10, metric)

    assert counted["worse"] >= 9, counted
    assert counted["better"] == 0


def test_a_machine_too_rough_to_tell_is_said_to_be() -> None:
    rough = Machine(spread=0.3, correlation=0.5, run=0.06)

    counted = verdicts(rough, 1.0, 20, Metric("throughput"))

    assert counted["not enough data"] >= 18, counted
