"""When each call of an open loop or a replay is due, before the first one is sent.

Pure: a scenario in, instants out. The whole schedule exists before the run, so nothing that
happens during it can move an arrival, and every worker computes the same one from the seed.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadtest.arrivals.process import Piece, constant, poisson
from loadtest.record.row import WARMUP, Column
from loadtest.scenario.schema import BadScenario, Open, Replay
from loadtest.scenario.size import check, mean_rate

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class Schedule:
    """Every call of a run, all workers together."""

    instants_ns: Column
    """When each is due since instant 0, the beginning of warm-up; sorted."""
    phases: npt.NDArray[np.int16]
    """WARMUP, or the number of the stretch in which each is due."""
    measured_from_ns: int
    span_ns: int
    """The end of the measured time."""
    # Whether the first measured call sends the first payload, whatever warm-up sent.
    restarts_payloads: bool = False

    def __len__(self) -> int:
        return len(self.instants_ns)

    def payloads(self, pool: int) -> npt.NDArray[np.int64]:
        """Return which of the `pool` prepared bodies each call sends.

        Call i sends body i modulo the pool. A replay counts anew after its warm-up, so that each
        recorded call has exactly the lengths it was recorded with.
        """
        places = np.arange(len(self))
        if self.restarts_payloads:
            warmup = int((self.phases == WARMUP).sum())
            places = np.where(places < warmup, places, places - warmup)
        return places % pool


def schedule(scenario: Open | Replay) -> Schedule:
    """Return when each call is due.

    Raises:
        BadScenario: there would be too many, or a replay has no recording.
    """
    check(scenario)
    match scenario:
        case Open():
            return _open(scenario)
        case Replay():
            return _replay(scenario)


def _open(scenario: Open) -> Schedule:
    """Warm-up is one more stretch at the first rate: one process, no seam between the two."""
    stretches = [Piece(p.for_s, p.rate, p.to_rate or p.rate) for p in scenario.stretches]
    first = stretches[0].rate
    warmup = [Piece(scenario.warmup_s, first, first)] if scenario.warmup_s else []
    pieces = warmup + stretches
    arrive = constant if scenario.arrivals == "constant" else poisson
    edges_ns = _ns(scenario.warmup_s + np.cumsum([0.0, *(piece.for_s for piece in stretches)]))
    instants_ns = np.minimum(_ns(arrive(pieces, scenario.seed)), edges_ns[-1] - 1)
    # The stretch of a call follows from its instant in ns, as does everything in the analysis.
    phases = np.searchsorted(edges_ns, instants_ns, side="right") - 1
    return Schedule(instants_ns, phases.astype(np.int16), int(edges_ns[0]), int(edges_ns[-1]))


def _replay(scenario: Replay) -> Schedule:
    """The recording at its speed, after Poisson arrivals at its mean rate.

    Warm-up sends the recording's first bodies in their order, begun anew where it has fewer.
    """
    rate = mean_rate(scenario)
    if rate == 0:
        raise BadScenario("a replay needs a recording of at least two calls at different times")
    warm_s = poisson(
        [Piece(scenario.warmup_s, rate, rate)] if scenario.warmup_s else [], scenario.seed
    )
    measured_from_ns = int(_ns(np.array(scenario.warmup_s)))
    warm_ns = np.minimum(_ns(warm_s), measured_from_ns - 1)
    at_s = np.array([arrival.at_s for arrival in scenario.recorded]) / scenario.speed
    recorded_ns = measured_from_ns + _ns(at_s)
    phases = np.repeat(np.array([WARMUP, 0], np.int16), [len(warm_ns), len(recorded_ns)])
    # The last call is due inside the measured time, whose end is not part of it.
    end_ns = int(recorded_ns[-1]) + 1
    instants_ns = np.concatenate([warm_ns, recorded_ns])
    return Schedule(instants_ns, phases, measured_from_ns, end_ns, restarts_payloads=True)


def _ns(seconds: npt.NDArray[np.float64]) -> Column:
    return np.round(seconds * _NS_PER_S).astype(np.int64)
