"""One run from the orders to the last call: prepare, name instant 0, listen, stop, hand over.

The same for one process and for many: what differs is the crew's. Judges nothing; whatever makes
the numbers not those of the order is noted as a disturbance.
"""

import time
from typing import Final

import gevent
from gevent.event import Event

from loadtest.errors import RunFailed
from loadtest.fabric.clock import Offset, Trip, offset, spread
from loadtest.fabric.crew import Crew, Heard
from loadtest.fabric.glimpse import Live, Observer
from loadtest.fabric.outcome import Finished, Plan
from loadtest.fabric.seats import Seat, calls_of, dones, errors_of, shares
from loadtest.fabric.words import ANY_RUN, Batch, Begin, Broken, Ended, Halt, Ping, Pong, Prepared
from loadtest.scenario.schema import span_s
from loadtest.sender.order import Order
from loadtest.telemetry import find
from loadtest.telemetry.sampler import Sampler

_NS_PER_S: Final = 1_000_000_000
# From the order to begin to instant 0; on the way to another process the longer one.
_LEAD_NS: Final = 200_000_000
_FAR_LEAD_NS: Final = 500_000_000
_TRIPS: Final = 20
_TRIP_LIMIT_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.5
_POLL_S: Final = 0.1
# A sender connects, builds every body and makes one call of each kind.
_PREPARE_LIMIT_S: Final = 600.0
# Beyond the measured time and the deadline of the last call.
_GRACE_S: Final = 30.0


class Conductor:
    """One run of a crew."""

    def __init__(self, plan: Plan, crew: Crew, run: int, observe: Observer | None) -> None:
        self._plan = plan
        self._crew = crew
        self._run = run
        self._observe = observe or (lambda _: None)
        self._live = Live(plan.scenario, plan.name, crew.size, crew.delay_s)
        self._seats = [Seat() for _ in range(crew.size)]
        self._disturbances: list[str] = []
        self._refused = ""
        self._at_ns: int | None = None
        self._began_s = 0.0
        self._halted_ns: int | None = None
        self.over = Event()

    @property
    def deadline_s(self) -> float:
        """The longest that a call may take."""
        return self._plan.scenario.deadline_s

    def assign(self) -> None:
        """Hand out the orders; Locust may start the users after it."""
        plan, workers = self._plan, len(self._seats)
        self._crew.assign(
            self._run,
            [
                Order(
                    scenario=plan.scenario,
                    target=plan.target,
                    model=plan.model,
                    worker=worker,
                    workers=workers,
                    security=plan.security,
                    wants_realtime=plan.wants_realtime,
                )
                for worker in range(workers)
            ],
        )

    def conduct(self) -> Finished:
        """Wait for the senders, let them send, and return what they recorded.

        Raises:
            RunFailed: it never began.
        """
        plan = self._plan
        try:
            source = find.server(plan.target, plan.server_pid, plan.metrics_url)
            self._await_prepared()
            self._set_clocks()
            sampler = Sampler(self._pids, source)
            self._begin()
            looking = gevent.spawn(self._look, sampler)
            self._listen()
        finally:
            self.over.set()
        looking.get()
        self._check_clocks()
        return self._finished(sampler)

    def stop(self, reason: str) -> None:
        """Send nothing more. A run that has begun still ends in order, INVALID."""
        if self._at_ns is None:
            self._refused = reason
        elif not self.over.is_set():
            self._disturb(reason)

    def _await_prepared(self) -> None:
        self._observe(self._live.waiting("preparing"))
        until_s = time.monotonic() + _PREPARE_LIMIT_S
        while missing := sum(seat.prepared is None for seat in self._seats):
            heard = self._hear()
            if heard is not None and isinstance(heard.news, Prepared):
                self._seats[heard.worker].prepared = heard.news
            self._refuse_lost()
            if time.monotonic() > until_s:
                raise RunFailed(
                    f"{missing} senders were not ready within {_PREPARE_LIMIT_S:g} s;"
                    " make the texts shorter or fewer"
                )

    def _refuse_lost(self) -> None:
        if self._refused:
            raise RunFailed(f"{self._refused} before the run began")
        for worker, why in self._crew.lost().items():
            raise RunFailed(f"{self._who(worker)} was lost before the run began: {why}")

    def _hear(self) -> Heard | None:
        """Return the next news of this run; before instant 0 a worker that cannot is the end."""
        heard = self._crew.hear(_POLL_S)
        if heard is None or heard.run not in {self._run, ANY_RUN}:
            return None
        if isinstance(heard.news, Broken) and self._at_ns is None:
            where = f"{self._who(heard.worker)}: " if self._plan.expect_workers else ""
            raise RunFailed(f"{where}{heard.news.reason}")
        return heard

    def _set_clocks(self) -> None:
        for worker, seat in enumerate(self._seats):
            if self._crew.shares_clock(worker):
                continue
            measured = self._measure(worker)
            if measured is None:
                raise RunFailed(f"{self._who(worker)} does not answer any more")
            seat.offset, seat.error_ns = measured, measured.error_ns

    def _check_clocks(self) -> None:
        """Measure again, for what the clocks ran apart during the run."""
        for worker, seat in enumerate(self._seats):
            if seat.is_gone or self._crew.shares_clock(worker):
                continue
            if (measured := self._measure(worker)) is not None:
                seat.error_ns = spread(seat.offset, measured)

    def _measure(self, worker: int) -> Offset | None:
        """Return how far the worker's clock is from ours, None when it does not answer."""
        trips = []
        for number in range(_TRIPS):
            sent_ns = time.monotonic_ns()
            self._crew.tell(worker, self._run, Ping(number))
            while time.monotonic_ns() - sent_ns < _TRIP_LIMIT_S * _NS_PER_S:
                heard = self._hear()
                if heard is not None and (heard.worker, _trip(heard)) == (worker, number):
                    assert isinstance(heard.news, Pong)
                    trips.append(Trip(sent_ns, heard.news.at_ns, heard.at_ns))
                    break
            else:
                break
        return offset(trips) if trips else None

    def _begin(self) -> None:
        self._refuse_lost()
        lead_ns = _LEAD_NS if len(self._seats) == 1 else _FAR_LEAD_NS
        at_ns = time.monotonic_ns() + lead_ns
        self._began_s = time.time() + lead_ns / _NS_PER_S
        for worker, seat in enumerate(self._seats):
            self._crew.tell(worker, self._run, Begin(at_ns + seat.offset.ns))
        self._at_ns = at_ns

    def _listen(self) -> None:
        """Hear everybody out."""
        seen_s = 0.0
        while any(seat.is_sending for seat in self._seats):
            heard = self._hear()
            if heard is not None:
                self._note(heard)
            self._note_lost()
            if time.monotonic() - seen_s >= _LOOK_EVERY_S:
                seen_s = time.monotonic()
                stage = "draining" if self._halted_ns is not None else ""
                self._observe(self._live.glimpse(max(self._now_ns(), 0), stage))

    def _note(self, heard: Heard) -> None:
        seat = self._seats[heard.worker]
        match heard.news:
            case Batch() as batch:
                seat.batches.append(batch)
                self._live.add(batch)
            case Ended(done=done):
                seat.ended = heard.news
                if seat.missing_rows:
                    lost = f"{seat.missing_rows} calls of {self._who(heard.worker)}"
                    self._disturb(f"{lost} were lost on the way to the master")
                if done.stopped and self._halted_ns is None:
                    self._disturb(done.stopped)
            case Broken(reason=reason):
                seat.is_gone = True
                self._disturb(f"{self._who(heard.worker)}: {reason}")

    def _note_lost(self) -> None:
        for worker, why in self._crew.lost().items():
            if self._seats[worker].is_sending:
                self._seats[worker].is_gone = True
                self._disturb(f"{self._who(worker)} was lost: {why}")
        limit_ns = self._limit_ns()
        if limit_ns is not None and self._now_ns() > limit_ns:
            for worker, seat in enumerate(self._seats):
                if seat.is_sending:
                    seat.is_gone = True
                    self._disturb(f"{self._who(worker)} did not come to an end")

    def _limit_ns(self) -> int | None:
        """Return when the last call must have ended, None where the server decides."""
        scenario = self._plan.scenario
        grace_ns = round((scenario.deadline_s + _GRACE_S) * _NS_PER_S)
        if self._halted_ns is not None:
            return self._halted_ns + grace_ns
        span = span_s(scenario)
        return None if span is None else round((scenario.warmup_s + span) * _NS_PER_S) + grace_ns

    def _disturb(self, reason: str) -> None:
        """Note what happened, and let nobody send any more."""
        if reason not in self._disturbances:
            self._disturbances.append(reason)
        if self._halted_ns is not None:
            return
        self._halted_ns = max(self._now_ns(), 0)
        for worker, seat in enumerate(self._seats):
            if seat.is_sending:
                self._crew.tell(worker, self._run, Halt(reason))

    def _look(self, sampler: Sampler) -> None:
        """Sample until the run is over."""
        wait_s = -self._now_ns() / _NS_PER_S
        while not self.over.wait(max(wait_s, 0.0)):
            sampler.look(max(self._now_ns(), 0) / _NS_PER_S)
            wait_s = _LOOK_EVERY_S

    def _pids(self) -> list[int]:
        """Return the senders that run on this machine."""
        return [
            seat.prepared.pid
            for worker, seat in enumerate(self._seats)
            if seat.prepared and seat.is_sending and self._crew.shares_clock(worker)
        ]

    def _now_ns(self) -> int:
        assert self._at_ns is not None
        return time.monotonic_ns() - self._at_ns

    def _who(self, worker: int) -> str:
        prepared = self._seats[worker].prepared
        if len(self._seats) == 1 and not self._plan.expect_workers:
            return "the sender"
        return f"worker {worker} on {prepared.host}" if prepared else f"worker {worker}"

    def _finished(self, sampler: Sampler) -> Finished:
        said = dones(self._seats)
        warmup_ns = round(self._plan.scenario.warmup_s * _NS_PER_S)
        return Finished(
            plan=self._plan,
            calls=calls_of(self._seats),
            began_s=self._began_s,
            # The workers of an offline run end their warm-up each in its own time.
            measured_from_ns=min((done.measured_from_ns for done in said), default=warmup_ns),
            end_ns=max((done.end_ns for done in said), default=self._halted_ns or 0),
            disturbances=tuple(self._disturbances),
            errors=errors_of(self._seats),
            shares=shares(self._seats),
            telemetry=sampler.finish(),
        )


def _trip(heard: Heard) -> int | None:
    return heard.news.trip if isinstance(heard.news, Pong) else None
