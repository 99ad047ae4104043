"""What deserves a word and does not make a run INVALID. Pure; all of it measured, none guessed."""

import math
from typing import Final

from loadtest.analysis.evidence import Evidence, WorkerLoad

NEAR: Final = 0.5
"""A sending process is near its limit when it is late by this share of what it may be."""
BUSY_CORES: Final = 0.5
"""And when it uses so much of a core; above, lag grows faster than load. Advice aims here."""
FULL_CORES: Final = 0.9
"""A closed loop cannot be late: it only sends less. From here on it may be what is measured."""
WEIGHS: Final = 0.1
"""Lag that is so large a share of a latency shows in it."""


def warnings(evidence: Evidence, lag_bound_us: float) -> tuple[str, ...]:
    """Return what people should know before they use the numbers."""
    said = [_limit(evidence, worker, lag_bound_us) for worker in evidence.workers]
    said += [_clock(evidence, worker) for worker in evidence.workers]
    said.append(_weighing(evidence))
    return tuple(text for text in said if text)


def _limit(evidence: Evidence, worker: WorkerLoad, lag_bound_us: float) -> str:
    """Say when a sending process is at what it can hold: by its own lateness and CPU."""
    has_arrivals = evidence.kind in {"open", "replay"}
    late_us = worker.lag_p99_us if has_arrivals else evidence.lag_p99_us
    is_late, is_busy = late_us > NEAR * lag_bound_us, worker.cores > BUSY_CORES
    is_full = not has_arrivals and worker.cores > FULL_CORES
    if not is_full and not (is_late and (is_busy or late_us > lag_bound_us)):
        return ""
    whose = "was" if has_arrivals else "had timers"
    seen = (
        f"worker {worker.worker} {whose} {late_us / 1000:.3g} ms late at p99"
        f" at {worker.calls_per_s:,.0f} calls/s with {worker.cores:.0%} of a core"
    )
    if not is_busy:
        return f"{seen}: something else kept it from its core; give the generator one of its own"
    return f"{seen}: use {_workers_for(evidence)} workers"


def _workers_for(evidence: Evidence) -> int:
    """Return how many processes would each use less than a busy one does, at this load."""
    cores = sum(worker.cores for worker in evidence.workers)
    return max(math.ceil(cores / BUSY_CORES), len(evidence.workers) + 1)


def _clock(evidence: Evidence, worker: WorkerLoad) -> str:
    """Say when a worker's clock is further off than arrivals are apart."""
    if evidence.kind in {"closed", "offline"} or not evidence.offered:
        return ""
    gap_us = evidence.measured_s * 1e6 / evidence.offered
    if worker.clock_error_us <= gap_us:
        return ""
    return (
        f"worker {worker.worker} on {worker.host} may be {worker.clock_error_us / 1000:.3g} ms off"
        f" the others' schedule, with a call due every {gap_us / 1000:.3g} ms: calls of different"
        " workers may come in another order. Latencies are each from one clock and not affected"
    )


def _weighing(evidence: Evidence) -> str:
    """Say when the generator's own lateness is a visible part of the latency it reports."""
    if evidence.kind in {"closed", "offline"}:
        return ""
    pairs = (
        ("p50", evidence.lag_p50_us, evidence.p50_us),
        ("p99", evidence.lag_p99_us, evidence.p99_us),
    )
    shares = [(late / took, name, late) for name, late, took in pairs if took > 0]
    share, name, late_us = max(shares, default=(0.0, "", 0.0))
    if share <= WEIGHS:
        return ""
    return (
        f"the generator's own lateness at {name}, {late_us / 1000:.2g} ms, is {share:.0%} of the"
        " latency there: read the latency from the send beside it"
    )
