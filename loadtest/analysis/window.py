"""The measured time of a run, and which calls belong to it."""

from typing import Self

import msgspec
import numpy as np
import numpy.typing as npt

from loadtest.record.calls import Calls
from loadtest.record.row import Column
from loadtest.scenario.schema import AnyScenario, Offline

NS_PER_S = 1_000_000_000


class Window(msgspec.Struct, frozen=True):
    """The measured time in ns since instant 0, its end left out; everything before is warm-up."""

    start_ns: int
    end_ns: int

    @classmethod
    def of(cls, scenario: AnyScenario, measured_from_ns: int, end_ns: int) -> Self:
        """Return the window of a run; the last answer of an offline run is its end and counts."""
        return cls(measured_from_ns, end_ns + 1 if isinstance(scenario, Offline) else end_ns)

    @property
    def span_s(self) -> float:
        """Length in seconds, never 0."""
        return max(self.end_ns - self.start_ns, 1) / NS_PER_S

    def holds(self, instants_ns: Column) -> npt.NDArray[np.bool_]:
        """Return which instants lie inside."""
        return (instants_ns >= self.start_ns) & (instants_ns < self.end_ns)

    def due(self, calls: Calls) -> Calls:
        """Return the calls that count: due in the measured time, however they ended."""
        measured = calls.measured
        return measured.where(self.holds(measured.column("scheduled_ns")))
