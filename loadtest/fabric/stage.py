"""Locust set up for runs: an environment, its runner, a crew, the page. One run at a time.

Must be imported in a gevent process only.
"""

from typing import Final

import gevent
from locust.env import Environment
from locust.exception import RPCError

from loadtest.errors import RunFailed
from loadtest.fabric import web, words
from loadtest.fabric.conductor import Conductor
from loadtest.fabric.crew import Crew, LocalCrew
from loadtest.fabric.glimpse import Glimpse, Observer
from loadtest.fabric.master import MasterCrew
from loadtest.fabric.outcome import Finished, Plan

_FROM_PAGE: Final = "stopped on Locust's page"
# How long the page waits for calls in flight, beyond their deadline.
_DRAIN_S: Final = 5.0


class Stage:
    """Where runs take place."""

    def __init__(self, plan: Plan, observe: Observer | None) -> None:
        """Take number and place of the workers, and the page's port, from this plan.

        Raises:
            RunFailed: a port is taken.
        """
        self._observe = observe
        self._runs = 0
        self._conductor: Conductor | None = None
        self._is_interrupted = False
        self._owner = gevent.getcurrent()
        self._environment = environment = Environment(host=plan.target)
        is_local = plan.workers == 1 and not plan.expect_workers
        _create_runner(environment, plan, is_local=is_local)
        environment.events.test_stopping.add_listener(self._stop_from_page)
        if plan.web_port is not None:
            web.open_page(environment, plan.web_port)
        self._crew: Crew
        if is_local:
            self._crew = LocalCrew(environment)
        else:
            size = plan.expect_workers or plan.workers
            self._crew = MasterCrew(environment, size, starts_them=not plan.expect_workers)

    def run(self, plan: Plan) -> Finished:
        """Do one run.

        Raises:
            RunFailed: it never began.
        """
        self._runs += 1
        self._environment.host = plan.target
        self._crew.muster(lambda stage: self._wait(plan, stage))
        self._conductor = conductor = Conductor(plan, self._crew, self._runs, self._observe)
        conductor.assign()
        try:
            self._crew.spawn()
            return conductor.conduct()
        finally:
            conductor.over.set()
            self._crew.rest()

    def interrupt(self) -> None:
        """End the run in order. May be called from a signal's handler."""
        self._is_interrupted = True
        if self._conductor is not None:
            # The handler may run in gevent's own loop, where nothing may wait.
            gevent.spawn(self._conductor.stop, words.INTERRUPTED)

    def abandon(self) -> None:
        """Raise KeyboardInterrupt where the run was asked for. As `interrupt`."""
        gevent.spawn(gevent.kill, self._owner, KeyboardInterrupt)

    def close(self) -> None:
        """Send everybody home."""
        self._crew.close()
        if self._environment.web_ui is not None:
            self._environment.web_ui.stop()

    def _wait(self, plan: Plan, stage: str) -> None:
        if self._is_interrupted:
            raise RunFailed(f"{words.INTERRUPTED} before the run began")
        if stage and self._observe is not None:
            self._observe(Glimpse(name=plan.name, stage=stage, workers=self._crew.size))

    def _stop_from_page(self, **_: object) -> None:
        """Let what is in flight end, before Locust stops the users without asking."""
        conductor = self._conductor
        if conductor is None or conductor.over.is_set():
            return
        conductor.stop(_FROM_PAGE)
        conductor.over.wait(conductor.deadline_s + _DRAIN_S)


def _create_runner(environment: Environment, plan: Plan, *, is_local: bool) -> None:
    if is_local:
        environment.create_local_runner()
        return
    host, port = "127.0.0.1", 0
    if plan.expect_workers:
        host, _, number = plan.bind.rpartition(":")
        port = int(number)
        web.check_port(host, port, "--bind")
    try:
        environment.create_master_runner(host, port)
    except (RPCError, SystemExit) as error:
        raise RunFailed(f"cannot listen at {host}:{port} ({error}); correct --bind") from error
