"""The workers of a distributed run, over Locust's master.

Workers are numbered in the order in which they registered, and keep their numbers. Those of this
machine are started here and end with this process; others are waited for.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import gevent
from gevent.queue import Empty, Queue
from locust.env import Environment
from locust.rpc import Message
from locust.runners import STATE_MISSING, MasterRunner

import loadtest
from loadtest.errors import RunFailed
from loadtest.fabric import words
from loadtest.fabric.crew import Heard
from loadtest.fabric.desk import Desk
from loadtest.fabric.users import OneEach, bind
from loadtest.fabric.words import Broken, Command, Ping, Pong, Prepared, Take
from loadtest.sender.order import Order

DELAY_S: Final = 1.0
"""Between a worker's messages about calls."""
_START_LIMIT_S: Final = 60.0
_COME_LIMIT_S: Final = 300.0
# Workers that are kept from one run to the next are back sooner.
_PATIENCE_S: Final = 0.5
_QUIT_LIMIT_S: Final = 3.0
_GREET_EVERY_S: Final = 0.1
# Locust warns of more.
_SPAWN_PER_S: Final = 100


class Hands:
    """Worker processes of this machine, started for the port of a master here."""

    def __init__(self, port: int, count: int) -> None:
        root = str(Path(loadtest.__file__).parents[1])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-m", "loadtest", "worker", "--master", f"127.0.0.1:{port}"]
        self.processes = [
            # Their standard input ends with this process, however it ends, and they with it.
            subprocess.Popen(  # noqa: S603  (our own command)
                [*command, "--leave-with-parent"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                # Out of the terminal's reach: what Ctrl-C means is decided here.
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": path},
            )
            for _ in range(count)
        ]

    def ended(self) -> dict[int, int]:
        """Return process ids and exit statuses of those that are no more."""
        return {
            process.pid: process.returncode
            for process in self.processes
            if process.poll() is not None
        }

    def close(self) -> None:
        """End those that are left."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self.processes:
            try:
                process.wait(_QUIT_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class MasterCrew:
    """Workers that registered with Locust's master of this process."""

    delay_s: Final = DELAY_S

    def __init__(self, environment: Environment, size: int | None, *, starts_them: bool) -> None:
        """Take over an environment with its master, and start the workers or leave that to others.

        `size` of them are waited for before each run; None takes those who are there.
        """
        self.environment = environment
        assert isinstance(environment.runner, MasterRunner)
        self._runner = environment.runner
        self._heard: Queue[Heard] = Queue()
        self._expected = size
        self._owners: dict[int, int] = {}
        self._ids: list[str] = []
        self._greeted: set[str] = set()
        environment.user_classes = [bind(Desk(environment, _no_post, every_s=0.0))]
        environment.dispatcher_class = OneEach
        self._runner.register_message(words.MESSAGE, self._listen)
        self._hands = Hands(self._runner.server.port, size) if starts_them and size else None

    @property
    def size(self) -> int:
        """Number of workers in this run."""
        return len(self._ids)

    def muster(self, note: Callable[[str], None]) -> None:
        """Wait until so many workers as were asked for are idle."""
        limit_s = _START_LIMIT_S if self._hands else _COME_LIMIT_S
        since_s = time.monotonic()
        wanted = self._expected or 1
        self._greeted.clear()
        while len(ready := self._ready()) < wanted:
            here = f"{len(ready)} of {wanted} workers are here"
            waited_s = time.monotonic() - since_s
            note(f"waiting for workers: {here}" if waited_s > _PATIENCE_S else "")
            if self._hands and (ended := self._hands.ended()):
                status = next(iter(ended.values()))
                raise RunFailed(f"a worker process ended with status {status}: {here}")
            if waited_s > limit_s:
                raise RunFailed(f"after {limit_s:g} s only {here}; {self._advice()}")
            self._greet()
            gevent.sleep(_GREET_EVERY_S)
        self._ids = ready[: self._expected]
        self._owners = {}

    def assign(self, run: int, orders: Sequence[Order]) -> None:
        """Send each worker its order."""
        for worker, order in enumerate(orders):
            self.tell(worker, run, Take.of(order))

    def spawn(self) -> None:
        """Have every worker start its user; those without an order leave at once."""
        count = len(self._runner.clients)
        self._runner.start(count, min(count, _SPAWN_PER_S))

    def rest(self) -> None:
        """Have the workers stop their users and report as idle."""
        # The users have left, or are about to be stopped by this. Locust would wait for the
        # workers' next reports to believe it, seconds later.
        for client in self._runner.clients.all:
            client.user_classes_count = {}
        self._runner.stop()

    def hear(self, timeout_s: float) -> Heard | None:
        """Return the next news, None when there were none."""
        try:
            return self._heard.get(timeout=timeout_s)
        except Empty:
            return None

    def tell(self, worker: int, run: int, command: Command) -> None:
        """Send a command."""
        data = words.encode(run, command)
        self._runner.send_message(words.MESSAGE, data, self._ids[worker])

    def lost(self) -> dict[int, str]:
        """Return who is gone: by the process where it is ours, by silence for 4 s otherwise."""
        ended = self._hands.ended() if self._hands else {}
        gone = {}
        for worker, identity in enumerate(self._ids):
            client = self._runner.clients.get(identity)
            if (owner := self._owners.get(worker)) in ended:
                gone[worker] = f"its process ended with status {ended[owner]}"
            elif client is None:
                gone[worker] = "it has left"
            elif client.state == STATE_MISSING:
                gone[worker] = "it is silent"
        if self._hands and len(ended) > len(gone):
            # One that ended before it said which one it is.
            status = next(iter(ended.values()))
            gone.update(
                {
                    worker: f"a worker process ended with status {status}"
                    for worker in range(self.size)
                    if worker not in self._owners
                }
            )
        return gone

    def shares_clock(self, worker: int) -> bool:
        """Whether it was started here."""
        if self._hands is None:
            return False
        return self._owners.get(worker) in {process.pid for process in self._hands.processes}

    def close(self) -> None:
        """Have the workers quit."""
        self._runner.quit()
        self._runner.server.close(linger=0)
        if self._hands is not None:
            self._hands.close()

    def _ready(self) -> list[str]:
        """Return who could take an order, in the order of registration."""
        ready = [node.id for node in self._runner.clients.ready if node.id in self._greeted]
        return sorted(ready, key=self._runner.get_worker_index)

    def _greet(self) -> None:
        """Ask those who are new whether they hear us: a worker registers before it listens."""
        greeting = words.encode(words.ANY_RUN, Ping(0))
        for node in self._runner.clients.ready:
            if node.id not in self._greeted:
                self._runner.send_message(words.MESSAGE, greeting, node.id)

    def _listen(self, msg: Message, **_: object) -> None:
        now_ns = time.monotonic_ns()
        try:
            run, word = words.news(msg.data)
        except words.Foreign as error:
            run, word = words.ANY_RUN, Broken(f"it is another version of heed-load ({error})")
        if run == words.ANY_RUN and isinstance(word, Pong):
            self._greeted.add(msg.node_id)
        if msg.node_id not in self._ids:
            return
        worker = self._ids.index(msg.node_id)
        if isinstance(word, Prepared):
            self._owners[worker] = word.owner
        self._heard.put(Heard(worker, run, word, now_ns))

    def _advice(self) -> str:
        if self._hands:
            return "this machine is too busy, or --workers too many"
        return (
            f"start `heed-load worker --master HOST:{self._runner.server.port}` on the other"
            " machines, and let --bind name an address that they reach"
        )


def _no_post(run: int, news: object) -> None:
    raise AssertionError(f"a master has no sender, yet run {run} has {news}")
