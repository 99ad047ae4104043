"""What a run looks like while it goes on, from the rows that have come so far.

For people to watch; the report works everything out anew from all rows. Reads no clock.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from loadtest.arrivals.schedule import schedule
from loadtest.fabric.words import Batch
from loadtest.record.row import ROW, Column, Rows
from loadtest.scenario.schema import AnyScenario, Closed, Offline, Open, Replay, span_s

WINDOW_S: Final = 5.0
"""Rates and percentiles are those of the last so many seconds."""
_NS_PER_S: Final = 1_000_000_000
_NS_PER_MS: Final = 1e6


@dataclass(frozen=True, kw_only=True)
class Glimpse:
    """A run at one moment. Before instant 0 only the words say something."""

    name: str
    stage: str
    """What goes on: waiting for workers, preparing, warm-up, the phase's name, draining."""
    workers: int
    elapsed_s: float = 0.0
    total_s: float | None = None
    """None where the server decides how long it takes."""
    calls: int = 0
    errors: int = 0
    offered_per_s: float | None = None
    """None where each call waits for another one's answer."""
    answered_per_s: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    in_flight: int | None = None
    lag_ms: float | None = None
    """p99 of how late sends (open loop, replay) or timers were."""


Observer = Callable[[Glimpse], None]
"""Called about twice a second, and whenever the stage changes."""


class Live:
    """The last seconds of a run, and its counts."""

    def __init__(self, scenario: AnyScenario, name: str, workers: int, delay_s: float) -> None:
        """`delay_s` is how long a row takes from the call's end to here, at most."""
        self._scenario = scenario
        self._name = name
        self._workers = workers
        self._delay_ns = round(delay_s * _NS_PER_S)
        self._due = _due(scenario)
        self._recent: deque[Rows] = deque()
        self._probes: deque[Column] = deque()
        self._calls = 0
        self._errors = 0

    def add(self, batch: Batch) -> None:
        """Count a batch of ended calls."""
        self._calls += len(batch.rows)
        self._errors += int((batch.rows["code"] != 0).sum())
        if len(batch.rows):
            self._recent.append(batch.rows)
        if len(batch.probes):
            self._probes.append(batch.probes)

    def waiting(self, stage: str) -> Glimpse:
        """Return a glimpse from before instant 0."""
        return Glimpse(
            name=self._name, stage=stage, workers=self._workers, total_s=_total_s(self._scenario)
        )

    def glimpse(self, now_ns: int, stage: str = "") -> Glimpse:
        """Return what there is to see; `now_ns` is the time since instant 0."""
        until_ns = max(now_ns - self._delay_ns, 0)
        from_ns = max(until_ns - round(WINDOW_S * _NS_PER_S), 0)
        rows = self._last(from_ns)
        span_s = max(until_ns - from_ns, 1) / _NS_PER_S
        p50, p99 = _percentiles(rows["done_ns"] - rows["scheduled_ns"])
        return Glimpse(
            name=self._name,
            stage=stage or _stage(self._scenario, now_ns / _NS_PER_S),
            workers=self._workers,
            elapsed_s=now_ns / _NS_PER_S,
            total_s=_total_s(self._scenario),
            calls=self._calls,
            errors=self._errors,
            offered_per_s=self._offered(from_ns, until_ns),
            # Newer ones have not all come.
            answered_per_s=float((rows["done_ns"] < until_ns).sum()) / span_s,
            p50_ms=p50,
            p99_ms=p99,
            in_flight=self._in_flight(until_ns),
            lag_ms=self._lag_ms(rows),
        )

    def _last(self, from_ns: int) -> Rows:
        """Forget what is older, and return the rest."""
        while self._recent and int(self._recent[0]["done_ns"].max()) < from_ns:
            self._recent.popleft()
        while self._probes and int(self._probes[0][-1, 0]) < from_ns:
            self._probes.popleft()
        rows = np.concatenate([np.zeros(0, ROW), *self._recent])
        return rows[rows["done_ns"] >= from_ns]

    def _offered(self, from_ns: int, until_ns: int) -> float | None:
        if self._due is None or until_ns <= from_ns:
            return None
        first, last = np.searchsorted(self._due, [from_ns, until_ns])
        return float(last - first) / ((until_ns - from_ns) / _NS_PER_S)

    def _in_flight(self, until_ns: int) -> int | None:
        match self._scenario:
            case Closed(in_flight=in_flight):
                return in_flight
            case Offline(calls=calls):
                return max(calls - self._calls, 0)
            case _ if self._due is not None:
                return max(int(np.searchsorted(self._due, until_ns)) - self._calls, 0)
        return None

    def _lag_ms(self, rows: Rows) -> float | None:
        if self._due is not None:
            return _percentiles(rows["sent_ns"] - rows["scheduled_ns"])[1]
        lags = [probes[:, 1] for probes in self._probes]
        return _percentiles(np.concatenate(lags))[1] if lags else None


def _due(scenario: AnyScenario) -> Column | None:
    return schedule(scenario).instants_ns if isinstance(scenario, Open | Replay) else None


def _total_s(scenario: AnyScenario) -> float | None:
    span = span_s(scenario)
    return None if span is None else scenario.warmup_s + span


def _stage(scenario: AnyScenario, now_s: float) -> str:
    total_s = _total_s(scenario)
    if total_s is not None and now_s >= total_s:
        return "draining"
    if now_s < scenario.warmup_s and total_s is not None:
        return "warm-up"
    if not isinstance(scenario, Open) or len(scenario.stretches) == 1:
        return "measuring"
    ends_s = scenario.warmup_s + np.cumsum([phase.for_s for phase in scenario.stretches])
    place = min(int(np.searchsorted(ends_s, now_s, side="right")), len(ends_s) - 1)
    return scenario.stretches[place].name or f"phase {place + 1}/{len(ends_s)}"


def _percentiles(values_ns: npt.NDArray[np.int64]) -> tuple[float | None, float | None]:
    """Return p50 and p99 in ms."""
    if not len(values_ns):
        return None, None
    p50, p99 = np.percentile(values_ns, [50, 99]) / _NS_PER_MS
    return float(p50), float(p99)
