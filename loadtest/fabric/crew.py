"""The processes that send in a run, as its conductor sees them: numbered, told, heard.

`Crew` is what the conductor knows of them; `LocalCrew` is the one sender of this process's own
Locust runner. The other kind is `master.MasterCrew`.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from gevent.queue import Empty, Queue
from locust.env import Environment
from locust.runners import LocalRunner

from loadtest.fabric.desk import Desk
from loadtest.fabric.users import OneEach, bind
from loadtest.fabric.words import Command, News
from loadtest.sender.order import Order


class Heard(NamedTuple):
    """News from one worker, and when they came in on our monotonic clock."""

    worker: int
    run: int
    news: News
    at_ns: int


class Crew(Protocol):
    """Every process that sends."""

    environment: Environment

    @property
    def delay_s(self) -> float:
        """How long news of a call may wait before they are sent here."""

    @property
    def size(self) -> int:
        """Number of workers in this run."""

    def muster(self, note: Callable[[str], None]) -> None:
        """Wait until all are here. `note` is told how it goes, nothing while it goes quickly.

        Raises:
            RunFailed: they did not come.
        """

    def assign(self, run: int, orders: Sequence[Order]) -> None:
        """Give each worker its order; it is done as soon as Locust starts the users."""

    def spawn(self) -> None:
        """Have Locust start the users."""

    def rest(self) -> None:
        """Have Locust stop them, and be ready for another run."""

    def hear(self, timeout_s: float) -> Heard | None:
        """Return the next news, None when there were none."""

    def tell(self, worker: int, run: int, command: Command) -> None:
        """Send a command."""

    def lost(self) -> dict[int, str]:
        """Return who is gone, and what is known about it."""

    def shares_clock(self, worker: int) -> bool:
        """Whether the worker's monotonic clock is this process's."""

    def close(self) -> None:
        """Send everybody home."""


class LocalCrew:
    """One sender, owned by the one user of this process."""

    # A sender writes its rows about ten times a second.
    delay_s: Final = 0.1

    def __init__(self, environment: Environment) -> None:
        """Take over an environment, with the runner that it has or a new one."""
        self.environment = environment
        self._heard: Queue[Heard] = Queue()
        self._desk = Desk(environment, self._post, every_s=0.0)
        environment.user_classes = [bind(self._desk)]
        environment.dispatcher_class = OneEach
        runner = environment.runner or environment.create_local_runner()
        assert isinstance(runner, LocalRunner)
        self._runner = runner

    @property
    def size(self) -> int:
        """One."""
        return 1

    def muster(self, note: Callable[[str], None]) -> None:
        """Be here."""

    def assign(self, run: int, orders: Sequence[Order]) -> None:
        """Lay the order on the desk."""
        (order,) = orders
        self._desk.take(run, order)

    def spawn(self) -> None:
        """Start the user."""
        self._runner.start(1, 1)

    def rest(self) -> None:
        """Stop it, if it has not left."""
        self._runner.stop()

    def hear(self, timeout_s: float) -> Heard | None:
        """Return the next news."""
        try:
            return self._heard.get(timeout=timeout_s)
        except Empty:
            return None

    def tell(self, worker: int, run: int, command: Command) -> None:
        """Do what the command says."""
        assert worker == 0
        self._desk.obey(run, command)

    def lost(self) -> dict[int, str]:
        """Return nobody: a sender that dies is heard of."""
        return {}

    def shares_clock(self, worker: int) -> bool:
        """Return yes."""
        return worker == 0

    def close(self) -> None:
        """Stop Locust's greenlets."""
        self._runner.quit()

    def _post(self, run: int, news: News) -> None:
        self._heard.put(Heard(0, run, news, time.monotonic_ns()))
