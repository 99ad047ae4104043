"""A worker: registers with a master, does its share of every run, leaves when it is told to.

It keeps nothing between runs, and trusts its master: orders name the target, keys and all.
"""

import os
import signal
import sys
import time

import gevent
from gevent.socket import wait_read
from locust.env import Environment
from locust.rpc import Message
from locust.runners import MASTER_HEARTBEAT_TIMEOUT, WorkerRunner

from loadtest.errors import RunFailed
from loadtest.fabric import words
from loadtest.fabric.desk import Desk
from loadtest.fabric.master import DELAY_S
from loadtest.fabric.users import OneEach, bind
from loadtest.fabric.words import Begin, Broken, Halt, News, Ping, Pong, Take

_LINGER_MS = 1000


class Hand:
    """This process as a worker of a master."""

    def __init__(self, environment: Environment) -> None:
        """Take over an environment whose runner is or will be a worker's."""
        self._desk = Desk(environment, self._post, every_s=DELAY_S)
        environment.user_classes = [bind(self._desk)]
        environment.dispatcher_class = OneEach

    def listen(self, runner: WorkerRunner) -> None:
        """Hear the master's commands from now on."""
        self._runner = runner
        runner.register_message(words.MESSAGE, self._obey)

    def _obey(self, msg: Message, **_: object) -> None:
        try:
            run, command = words.command(msg.data)
            match command:
                case Ping(trip=trip):
                    self._post(run, Pong(trip, time.monotonic_ns()))
                case Take():
                    self._desk.take(run, command.unpack())
                case Begin() | Halt():
                    self._desk.obey(run, command)
        except words.Foreign as error:
            reason = f"this worker is another version of heed-load than its master ({error})"
            self._post(words.ANY_RUN, Broken(reason))

    def _post(self, run: int, news: News) -> None:
        self._runner.send_message(words.MESSAGE, words.encode(run, news))


def serve(host: str, port: int, *, leaves_with_parent: bool) -> None:
    """Work for the master at an address until it says quit.

    Raises:
        RunFailed: no master answers there, or it has fallen silent.
    """
    environment = Environment()
    hand = Hand(environment)
    owner = gevent.getcurrent()
    # Not by gevent, which would print where it was.
    signal.signal(signal.SIGINT, lambda *_: gevent.spawn(gevent.kill, owner, KeyboardInterrupt))
    try:
        runner = environment.create_worker_runner(host, port)
    except ConnectionError as error:
        raise RunFailed(f"no master answers at {host}:{port}; correct --master") from error
    hand.listen(runner)
    if leaves_with_parent:
        gevent.spawn(_leave_with_parent, runner)
    try:
        runner.greenlet.join()
    except KeyboardInterrupt:
        # Tells the master, which would otherwise wait for the heartbeat.
        environment.events.quitting.fire(environment=environment)
        raise
    finally:
        runner.quit()
        runner.client.close(linger=_LINGER_MS)
    last_s = runner.last_heartbeat_timestamp
    if last_s is not None and time.time() - last_s > MASTER_HEARTBEAT_TIMEOUT:
        raise RunFailed(f"the master at {host}:{port} has been silent for a minute")


def _leave_with_parent(runner: WorkerRunner) -> None:
    """Quit when standard input ends, which it does when its other end is gone."""
    wait_read(sys.stdin.fileno())
    while os.read(sys.stdin.fileno(), 1):
        wait_read(sys.stdin.fileno())
    runner.quit()
