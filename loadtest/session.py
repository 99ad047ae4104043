"""One run while it goes on: its clock, its payloads, its record, and why it ended.

Shared by every user of the run, all greenlets of one thread, so nothing is locked. Sends calls
when told to; when a call is due is decided by the users and the dispatcher.
"""

import time
from collections.abc import Callable

import gevent
from gevent.event import Event

from loadtest import greenlets
from loadtest.client import Client, code_name, read
from loadtest.record import Call, Recording
from loadtest.scenario import Closed, Open
from loadtest.workload import Payload

_NS_PER_S = 1_000_000_000
# Between the order to start and instant 0, so that the first calls are not late by birth.
_LEAD_NS = 50_000_000
# A timer fires about this late, so it is set earlier and the rest is spent yielding: median lag
# 240 us -> 90 us for no measurable CPU at 200 calls/s. Setting it earlier still burns a core.
_TIMER_LATE_NS = 150_000

# Called after each call: latency from the scheduled instant in ms, answer size, error or None.
Observer = Callable[[float, int, Exception | None], None]


class CallFailed(Exception):
    """A call ended with another code than OK. Told to Locust, never raised."""


class Session:
    """A run from its first scheduled call to its last answer."""

    def __init__(
        self, scenario: Closed | Open, target: str, payloads: list[Payload], observe: Observer
    ) -> None:
        self.scenario = scenario
        self.target = target
        self.payloads = payloads
        self.recording = Recording()
        self.disturbances: list[str] = []
        self.failure: BaseException | None = None
        self.begun = Event()
        self.stopped = Event()
        self.span_ns = round((scenario.warmup_s + scenario.duration_s) * _NS_PER_S)
        self.end_ns = self.span_ns
        self._observe = observe
        greenlets.make_room(scenario.most_in_flight)
        self._origin_ns = 0
        self._next_call = 0

    def begin(self) -> None:
        """Set instant 0 a moment from now and let the users go."""
        self._origin_ns = time.monotonic_ns() + _LEAD_NS
        self.begun.set()

    def now_ns(self) -> int:
        """Return the time since instant 0."""
        return time.monotonic_ns() - self._origin_ns

    def wait_until(self, instant_ns: int) -> bool:
        """Sleep until the instant, or yield once if it is past; False when the run was stopped."""
        left_ns = instant_ns - self.now_ns() - _TIMER_LATE_NS
        if self.stopped.wait(max(left_ns, 0) / _NS_PER_S):
            return False
        while self.now_ns() < instant_ns:
            gevent.sleep(0)
        return True

    def is_over(self) -> bool:
        """No further call may start."""
        return self.stopped.is_set() or self.now_ns() >= self.span_ns

    def stop(self, reason: str) -> None:
        """Start no further calls; what is in flight still ends. The run becomes INVALID."""
        if self.stopped.is_set():
            return
        self.end_ns = max(0, min(self.span_ns, self.now_ns())) if self.begun.is_set() else 0
        self.disturbances.append(reason)
        self.stopped.set()

    def fail(self, failure: BaseException) -> None:
        """Stop because the generator itself broke."""
        self.failure = self.failure or failure
        self.stop(f"the generator failed: {failure!r}")

    def call(self, client: Client, scheduled_ns: int) -> None:
        """Send the next payload, wait for its end, record it."""
        index = self._next_call % len(self.payloads)
        self._next_call += 1
        payload = self.payloads[index]
        sent_ns = self.now_ns()
        answer = client.embed(payload.body)
        done_ns = self.now_ns()
        outcome = read(answer, payload.texts)
        self.recording.append(
            Call(
                scheduled_ns,
                sent_ns,
                done_ns,
                outcome.code,
                index,
                payload.texts,
                outcome.tokens,
                outcome.tokenize_ns,
                outcome.queue_ns,
                outcome.run_ns,
                outcome.total_ns,
            )
        )
        error = None
        if outcome.code != 0:
            error = CallFailed(f"{code_name(outcome.code)} {answer.detail}".rstrip())
        self._observe((done_ns - scheduled_ns) / 1e6, len(answer.body), error)
