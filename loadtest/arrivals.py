"""When each call of an open loop is due.

Pure: rate, span and seed in, instants out. The whole schedule exists before the first call, so
nothing that happens during a run can move an arrival.
"""

import math

import numpy as np
import numpy.typing as npt

from loadtest.scenario import Open

Instants = npt.NDArray[np.int64]

_NS_PER_S = 1_000_000_000


def poisson(rate: float, span_s: float, seed: int) -> Instants:
    """Return the sorted instants of a Poisson process over [0, span_s), in ns.

    Gaps are independent and exponential; the number of arrivals is therefore random too.
    """
    generator = np.random.default_rng(seed)
    expected = rate * span_s
    # Six standard deviations above the mean almost always suffice; the loop covers the rest.
    block = math.ceil(expected + 6 * math.sqrt(expected) + 10)
    instants = np.cumsum(generator.exponential(1 / rate, block))
    while instants[-1] < span_s:
        more = instants[-1] + np.cumsum(generator.exponential(1 / rate, block))
        instants = np.concatenate([instants, more])
    return (instants[instants < span_s] * _NS_PER_S).astype(np.int64)


def constant(rate: float, span_s: float) -> Instants:
    """Return evenly spaced instants over [0, span_s), in ns, the first at 0."""
    instants = np.arange(math.ceil(rate * span_s)) / rate
    return (instants[instants < span_s] * _NS_PER_S).astype(np.int64)


def schedule(scenario: Open) -> Instants:
    """Return every instant of a run, warm-up included."""
    span_s = scenario.warmup_s + scenario.duration_s
    if scenario.arrivals == "constant":
        return constant(scenario.rate, span_s)
    return poisson(scenario.rate, span_s, scenario.seed)
