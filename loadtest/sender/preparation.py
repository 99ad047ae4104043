"""Everything between an order and READY: connections, schedule, bodies, first calls."""

from collections.abc import Iterable
from dataclasses import dataclass

from loadtest.errors import RunFailed
from loadtest.scenario.schema import AnyScenario, Closed, Offline, Open, Replay
from loadtest.sender import closed, scheduled
from loadtest.sender.channel import CHANNEL_OPTIONS, Connection
from loadtest.sender.check import Check
from loadtest.sender.clock import NS_PER_S, Clock
from loadtest.sender.engine import Engine
from loadtest.sender.offline import offline
from loadtest.sender.order import Order, Ready
from loadtest.sender.wire import MAX_STREAMS, Wire
from loadtest.workload.build import payloads as build
from loadtest.workload.payload import Payload

_CONNECT_S = 10.0


@dataclass(frozen=True)
class Prepared:
    """One worker's part of a run, ready to begin."""

    order: Order
    wire: Wire
    payloads: list[Payload]
    connections: int
    part: scheduled.Part | closed.Part
    limit: scheduled.Limit

    @property
    def wants_realtime(self) -> bool:
        """Calls have instants to keep, and the order does not forbid the means."""
        return self.order.wants_realtime and isinstance(self.part, scheduled.Part)

    def ready(self, *, is_realtime: bool) -> Ready:
        """Return what the parent hears of it."""
        part = self.part
        return Ready(
            payloads=len(self.payloads),
            connections=self.connections,
            channel_options=CHANNEL_OPTIONS,
            scheduled=len(part.indices) if isinstance(part, scheduled.Part) else None,
            is_realtime=is_realtime,
        )

    def run(self, engine: Engine) -> int:
        """Send until the end of the measured time, and return when that began."""
        part, scenario = self.part, self.order.scenario
        if isinstance(part, scheduled.Part):
            scheduled.dispatch(engine, part, self.payloads, self.connections, self.limit)
            return part.measured_from_ns
        if isinstance(scenario, Offline):
            return offline(engine, part, scenario.calls)
        closed.closed(engine, part)
        return part.warmup_ns

    def end_ns(self, engine: Engine, measured_from_ns: int) -> int:
        """Return when the measured time ended, once the last call has."""
        if isinstance(self.order.scenario, Offline):
            # Before it began only when it was stopped while it warmed up.
            return max(measured_from_ns, engine.last_done_ns)
        part = self.part
        planned_ns = part.span_ns if isinstance(part, scheduled.Part) else part.end_ns
        return planned_ns if engine.stopped_ns is None else min(planned_ns, engine.stopped_ns)


def prepare(order: Order, clock: Clock) -> Prepared:
    """Connect, build, and ask the server once.

    Raises:
        RunFailed: it cannot be done; the text says what to change.
    """
    scenario = order.scenario
    share = share_of(scenario, order.worker, order.workers)
    count = min(scenario.connections, max(1, share))
    connections = [Connection(order.target, order.security) for _ in range(count)]
    wire = Wire(connections, clock, order.security.metadata, scenario.deadline_s)
    check = Check(order, wire)
    pool = build(scenario, order.model, check.inspect, check.ask)
    check.every_kind(pool)
    for connection in connections[1:]:
        connection.connect(_CONNECT_S)
    limit = limit_of(scenario, pool, share)
    return Prepared(order, wire, pool, count, part_of(order, pool, share, count), limit)


def limit_of(scenario: AnyScenario, pool: Iterable[Payload], share: int) -> scheduled.Limit:
    """Return how many calls one worker may have in flight, and why no more.

    Raises:
        RunFailed: it is to have more of them all the time.
    """
    has_streams = any(payload.kind == "stream" for payload in pool)
    if not has_streams or share <= MAX_STREAMS:
        return scheduled.Limit(share, "the safety limit")
    if isinstance(scenario, Closed | Offline):
        raise RunFailed(
            f"one sending process holds {MAX_STREAMS} streams open at most, and this one would"
            f" need {share}; lower in_flight or use more workers"
        )
    return scheduled.Limit(MAX_STREAMS, "as many streams as it can read; use more workers")


def part_of(
    order: Order, pool: list[Payload], share: int, connections: int
) -> scheduled.Part | closed.Part:
    """Return what this worker sends."""
    scenario = order.scenario
    if isinstance(scenario, Open | Replay):
        return scheduled.part_of(scenario, len(pool), order.worker, order.workers)
    warmup_ns = round(scenario.warmup_s * NS_PER_S)
    span_ns = round(scenario.duration_s * NS_PER_S) if isinstance(scenario, Closed) else 0
    return closed.Part(
        payloads=pool,
        worker=order.worker,
        workers=order.workers,
        in_flight=share,
        connections=connections,
        warmup_ns=warmup_ns,
        end_ns=warmup_ns + span_ns,
        first_index=scenario.calls if isinstance(scenario, Offline) else 0,
    )


def share_of(scenario: AnyScenario, worker: int, workers: int) -> int:
    """Return how many calls one worker may have in flight."""
    if isinstance(scenario, Open | Replay):
        # A safety stop: all workers together may reach a little more.
        return -(-scenario.max_in_flight // workers)
    share = scenario.in_flight // workers + (worker < scenario.in_flight % workers)
    # Of an offline run every worker has calls to send; of a closed loop some may have none.
    return max(1, share) if isinstance(scenario, Offline) else share
