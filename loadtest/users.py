"""Locust's view of a run: users that it counts, starts and stops.

Imports Locust, which patches the process; only the load process may import this module. The
classes are bound to a session by `bind`, because Locust creates its users itself.
"""

import math
from collections.abc import Callable
from typing import ClassVar

import locust.stats
from locust import User, constant, task
from locust.env import Environment
from locust.exception import StopUser

from loadtest import arrivals
from loadtest.client import EMBED, Client
from loadtest.dispatch import dispatch
from loadtest.scenario import Closed, Open
from loadtest.session import Observer, Session


class BoundUser(User):
    """A user of one session. One run per process at a time, so the session hangs on the class."""

    abstract = True
    session: ClassVar[Session]
    wait_time = constant(0)

    def on_start(self) -> None:
        """Wait for instant 0, which comes when every user has its connection."""
        self.session.begun.wait()
        self.session.wait_until(0)


class ClosedUser(BoundUser):
    """Sends the next call when the last one is answered, on a connection of its own."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._client = Client(self.session.target, self.session.scenario.deadline_s)

    @task
    def call(self) -> None:
        """Make one call, or leave when the time is over."""
        if self.session.is_over():
            raise StopUser
        self.session.call(self._client, self.session.now_ns())

    def on_stop(self) -> None:
        """Give the connection back."""
        self._client.close()


class OpenUser(BoundUser):
    """Hosts the dispatcher: one user stands for all the callers of an open loop."""

    fixed_count = 1

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        scenario = self.session.scenario
        if not isinstance(scenario, Open):
            raise TypeError(f"an open loop cannot run {scenario.loop}")
        self._max_in_flight = scenario.max_in_flight
        self._schedule = arrivals.schedule(scenario)
        self._clients = [
            Client(self.session.target, scenario.deadline_s) for _ in range(scenario.channels)
        ]

    @task
    def run_schedule(self) -> None:
        """Run the whole schedule once."""
        dispatch(self.session, self._schedule, self._clients, self._max_in_flight)
        raise StopUser

    def on_stop(self) -> None:
        """Give the connections back."""
        for client in self._clients:
            client.close()


def bind(session: Session) -> type[BoundUser]:
    """Return the user class that runs this session."""
    user_class = ClosedUser if isinstance(session.scenario, Closed) else OpenUser
    user_class.session = session
    return user_class


def observer(environment: Environment) -> Observer:
    """Return what tells Locust's statistics of each call, so that its web page is alive."""

    def observe(latency_ms: float, size_bytes: int, error: Exception | None) -> None:
        environment.events.request.fire(
            request_type="gRPC",
            name=EMBED.removeprefix("/"),
            response_time=latency_ms,
            response_length=size_bytes,
            exception=error,
            context={},
        )

    return observe


def attach(session: Session, environment: Environment) -> Callable[[], None]:
    """Let Locust's events start and stop the session, until the returned function is called."""

    def spawned(**_: object) -> None:
        if session.begun.is_set():
            session.disturbances.append("the number of users was changed during the run")
        else:
            session.begin()

    def stopping(**_: object) -> None:
        if not session.is_over():
            session.stop("the run was stopped before its time")

    def broken(exception: BaseException, **_: object) -> None:
        session.fail(exception)

    events = environment.events
    hooks = (
        (events.spawning_complete, spawned),
        (events.test_stopping, stopping),
        (events.user_error, broken),
    )
    for event, hook in hooks:
        event.add_listener(hook)

    def detach() -> None:
        for event, hook in hooks:
            event.remove_listener(hook)

    return detach


def three_digits(latency_ms: float) -> float:
    """Round for Locust's statistics: three significant digits, never coarser than 1 us needs."""
    if latency_ms <= 0:
        return 0.0
    return round(latency_ms, max(0, 2 - math.floor(math.log10(latency_ms))))


# Locust's own rounding is to whole milliseconds, more than most calls take here.
locust.stats.bucket_response_time = three_digits  # type: ignore[assignment]
