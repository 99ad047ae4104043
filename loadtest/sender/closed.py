"""Keep so many calls in flight: the end of one sends the next, on gRPC's own thread.

The main thread meanwhile measures how late timers fire here, which stands in for the dispatch lag
that a closed loop does not have, and wakes the lanes that rest.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from threading import get_ident

import grpc

from loadtest.record.row import WARMUP
from loadtest.sender.engine import Engine
from loadtest.sender.wire import Call
from loadtest.workload.payload import Payload

PROBE_EVERY_NS = 10_000_000
_UNAVAILABLE: int = grpc.StatusCode.UNAVAILABLE.value[0]


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one sending process takes of a closed loop."""

    payloads: Sequence[Payload]
    worker: int
    workers: int
    in_flight: int
    connections: int
    warmup_ns: int
    end_ns: int
    # Indices below it belong to other calls of the run.
    first_index: int = 0


# Given a connection, the next call for it; None when there is none.
Draw = Callable[[int], Call | None]


class Lanes:
    """Calls in flight that follow one another, each lane on one connection."""

    def __init__(self, engine: Engine, draw: Draw) -> None:
        self._engine = engine
        self._draw = draw
        self._resting: deque[int] = deque()

    def start(self, in_flight: int, connections: int) -> None:
        """Send the first call of every lane."""
        for lane in range(in_flight):
            self._next(lane % connections)

    def attend(self, is_finished: Callable[[], bool], end_ns: int | None = None) -> None:
        """Probe and wake until the instant, if one is given, or until nothing is left to do."""
        engine = self._engine
        while not is_finished():
            due_ns = engine.clock.now_ns() + PROBE_EVERY_NS
            if end_ns is not None and due_ns >= end_ns:
                engine.wait_until(end_ns)
                return
            if not engine.wait_until(due_ns):
                return
            engine.ledger.add_probe(due_ns, engine.clock.now_ns() - due_ns)
            for _ in range(len(self._resting)):
                self._next(self._resting.popleft())

    @property
    def are_quiet(self) -> bool:
        """No lane has a call in flight or waits to send one."""
        return self._engine.is_quiet and not self._resting

    def _next(self, connection: int) -> None:
        call = self._draw(connection)
        if call is None:
            return
        call.sender = get_ident()
        self._engine.send(call, self._ended)
        call.sender = 0

    def _ended(self, call: Call) -> None:
        # A dead server refuses within microseconds: sending again at once would burn a core and
        # write a million rows of nothing. The lane rests until the next probe, 10 ms at most.
        # It also does when the call ended while it was being sent, so that no call is sent from
        # within the sending of another, however many end like this.
        if call.code == _UNAVAILABLE or call.sender == get_ident():
            self._resting.append(call.connection)
        else:
            self._next(call.connection)


def closed(engine: Engine, part: Part) -> None:
    """Keep the lanes busy from instant 0 to the end; what is sent before `warmup_ns` warms up."""
    numbers = count()
    payloads = part.payloads

    def draw(connection: int) -> Call | None:
        now_ns = engine.clock.now_ns()
        if now_ns >= part.end_ns or engine.is_over():
            return None
        number = next(numbers)
        index = part.first_index + number * part.workers + part.worker
        phase = WARMUP if now_ns < part.warmup_ns else 0
        chosen = index % len(payloads)
        return Call(payloads[chosen], chosen, index, now_ns, phase, connection)

    if engine.wait_until(0):
        lanes = Lanes(engine, draw)
        lanes.start(part.in_flight, part.connections)
        lanes.attend(engine.is_over, part.end_ns)
