"""What every kind of run shares: its clock, what is in flight, why it ended, when it is quiet.

Threads: the main one sends what is due, gRPC's hear of the ends, one hands the rows on, one
listens to the parent. Whoever finds something broken calls `fail`; the main thread reports it.
"""

from collections.abc import Callable
from functools import partial
from threading import Event, Lock

from loadtest.sender.clock import NS_PER_S, Clock
from loadtest.sender.ledger import Ledger
from loadtest.sender.wire import Call, Then, Wire

# After the last deadline, for the ends that are still on their way.
_GRACE_S = 10.0


class Engine:
    """One run from its first call to its last answer."""

    def __init__(self, clock: Clock, wire: Wire, ledger: Ledger, deadline_s: float) -> None:
        self.clock = clock
        self.ledger = ledger
        self.in_flight = 0
        self.most_in_flight = 0
        self.last_done_ns = 0
        self.stopped = ""
        self.stopped_ns: int | None = None
        self.failure: BaseException | None = None
        self._wire = wire
        self._limit_s = deadline_s + _GRACE_S
        self._unrecorded = 0
        self._lock = Lock()
        self._is_quiet = Event()
        self._is_over = Event()
        self.is_over: Callable[[], bool] = self._is_over.is_set

    def stop(self, reason: str) -> None:
        """Send nothing more; what is in flight still ends. The first reason stands."""
        with self._lock:
            if self._is_over.is_set():
                return
            self.stopped = reason
            self.stopped_ns = max(0, self.clock.now_ns())
            self._is_over.set()

    def fail(self, failure: BaseException) -> None:
        """Stop because this process itself broke."""
        self.failure = self.failure or failure
        self.stop(f"the generator failed: {failure!r}")
        self._is_quiet.set()

    def wait_until(self, instant_ns: int) -> bool:
        """Sleep until an instant; False when the run is over before."""
        return self.clock.wait_until(instant_ns, self.is_over)

    def send(self, call: Call, then: Then | None = None) -> None:
        """Send now; `then` hears of the end before it is recorded."""
        with self._lock:
            self._unrecorded += 1
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self._wire.send(call, partial(self._ended, then))

    def drain(self) -> None:
        """Wait for the end of every call; each has a deadline.

        Raises:
            TimeoutError: some did not end all the same.
        """
        end_ns = self.clock.now_ns() + round(self._limit_s * NS_PER_S)
        while self.failure is None:
            with self._lock:
                if not self._unrecorded:
                    return
                self._is_quiet.clear()
            left_s = (end_ns - self.clock.now_ns()) / NS_PER_S
            if not self._is_quiet.wait(max(0.0, left_s)):
                raise TimeoutError(f"{self._unrecorded} calls did not end by their deadlines")

    @property
    def is_quiet(self) -> bool:
        """Nothing is in flight, and every end has been recorded."""
        return not self._unrecorded

    def _ended(self, then: Then | None, call: Call) -> None:
        with self._lock:
            self.in_flight -= 1
            self.last_done_ns = max(self.last_done_ns, call.done_ns)
        try:
            if then is not None:
                then(call)
            self.ledger.add(call)
        except Exception as failure:  # noqa: BLE001  gRPC would only log it; this reports it
            self.fail(failure)
        with self._lock:
            self._unrecorded -= 1
            if not self._unrecorded:
                self._is_quiet.set()
