"""Send every call of a schedule at its instant, late or not.

Nothing the server does moves an arrival. A call that is late is sent at once, never dropped, and
its lateness is part of its latency.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from loadtest.arrivals.schedule import schedule
from loadtest.arrivals.split import part
from loadtest.record.row import Column
from loadtest.scenario.schema import Open, Replay
from loadtest.sender.engine import Engine
from loadtest.sender.wire import Call
from loadtest.workload.payload import Payload


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one sending process takes of a schedule; the columns are equally long."""

    indices: Column
    instants_ns: Column
    phases: Column
    payloads: Column
    measured_from_ns: int
    span_ns: int


class Limit(NamedTuple):
    """How many calls may be in flight before the run is ended, and why no more."""

    calls: int
    why: str


def part_of(scenario: Open | Replay, pool: int, worker: int, workers: int) -> Part:
    """Return one worker's part; the whole schedule is worked out for it."""
    whole = schedule(scenario)
    indices = part(len(whole), worker, workers)
    return Part(
        indices=indices,
        instants_ns=whole.instants_ns[indices],
        phases=whole.phases[indices].astype("i8"),
        payloads=whole.payloads(pool)[indices],
        measured_from_ns=whole.measured_from_ns,
        span_ns=whole.span_ns,
    )


def dispatch(
    engine: Engine, part: Part, payloads: Sequence[Payload], connections: int, limit: Limit
) -> None:
    """Send the whole part, then wait for the end of the measured time.

    The measured time does not end with the last arrival, which at a low rate comes earlier.
    """
    # Memory views give Python's integers one at a time, without lists of millions of them.
    columns = (part.indices, part.instants_ns, part.phases, part.payloads)
    rows = zip(*(column.data for column in columns), strict=True)
    for number, (index, instant_ns, phase, chosen) in enumerate(rows):
        call = Call(payloads[chosen], chosen, index, instant_ns, phase, number % connections)
        if not engine.wait_until(instant_ns):
            return
        if engine.in_flight >= limit.calls:
            engine.stop(f"{limit.calls} calls of one process were in flight, {limit.why}")
            return
        engine.send(call)
    engine.wait_until(part.span_ns)
