"""The same runs under Locust's own command and web page, in one process or in many.

    locust -f loadtest/locustfile.py --host HOST:PORT --model NAME --scenario server

Locust starts, stops and counts; every start is a run of its own and ends in a report of its own
under --out. The scenario says how long, whatever --run-time; --users is the number in flight of a
closed loop. With --master, --worker or --processes each worker has one sender and takes its share
of the schedule.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

import gevent
import msgspec
from gevent.event import Event
from locust import events
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner
from rich.console import Console

from loadtest.commands import codes, run
from loadtest.commands.options import name
from loadtest.errors import RunFailed
from loadtest.fabric.conductor import Conductor
from loadtest.fabric.crew import Crew, LocalCrew
from loadtest.fabric.master import MasterCrew
from loadtest.fabric.outcome import Plan
from loadtest.fabric.users import Sender
from loadtest.fabric.worker import Hand
from loadtest.report import build, terminal, write
from loadtest.scenario.files import Overrides, load
from loadtest.scenario.schema import AnyScenario, BadScenario, Closed

log = logging.getLogger("heed")
# How long Locust waits for the last calls and the report, beyond the deadline of a call.
_REPORT_S = 60.0


class Callers(Sender):
    """What Locust finds in this file; each environment binds its own."""


class Runs:
    """The runs that Locust starts one after the other."""

    def __init__(self, environment: Environment, crew: Crew, options: Any) -> None:  # noqa: ANN401  Locust's own
        self._environment = environment
        self._crew = crew
        self._options = options
        # Without a page, Locust turns "not given" into one user later on.
        self._in_flight = options.num_users if options.headless else None
        self._number = 0
        self._conductor: Conductor | None = None
        self._reported = Event()
        environment.events.test_start.add_listener(self.begin)
        environment.events.test_stopping.add_listener(self.stop)

    def begin(self, **_: object) -> None:
        """Hand out the orders for the run whose users Locust is about to start."""
        self._number += 1
        self._reported.clear()
        try:
            self._crew.muster(log.debug)
            plan = self._plan()
            self._conductor = Conductor(plan, self._crew, self._number, None)
            self._conductor.assign()
        except (RunFailed, BadScenario) as error:
            self._fail(error)
            gevent.spawn(self._leave)
            return
        gevent.spawn(self._conduct, self._conductor, plan)

    def stop(self, **_: object) -> None:
        """Let what is in flight end and the report be written before Locust goes on."""
        conductor = self._conductor
        if conductor is None or conductor.over.is_set():
            return
        conductor.stop("stopped in Locust")
        self._reported.wait(conductor.deadline_s + _REPORT_S)

    def _conduct(self, conductor: Conductor, plan: Plan) -> None:
        try:
            finished = conductor.conduct()
            report = build.build(finished)
            folder = Path(self._options.out) / run.default_folder(plan.name).name
            page = write.write(report, finished.calls, folder)
            terminal.show(report, page, Console(), is_brief=False)
            self._environment.process_exit_code = run.code(report)
        except RunFailed as error:
            self._fail(error)
        finally:
            self._reported.set()
            self._leave()

    def _leave(self) -> None:
        """Tell Locust that the run is over."""
        assert self._environment.runner is not None
        if self._options.headless:
            self._environment.runner.quit()
        else:
            self._crew.rest()

    def _fail(self, error: Exception) -> None:
        log.error("%s", error)
        self._environment.process_exit_code = codes.FAILED

    def _plan(self) -> Plan:
        scenario = self._scenario()
        # The host may have been changed on the page, and Locust likes it with a scheme.
        target = str(self._environment.host).split("://")[-1]
        is_local = isinstance(self._crew, LocalCrew)
        return Plan(
            name=name(self._options.scenario),
            scenario=scenario,
            target=target,
            model=self._options.model,
            workers=1 if is_local else self._crew.size,
            expect_workers=0 if is_local else self._crew.size,
        )

    def _scenario(self) -> AnyScenario:
        scenario = load(self._options.scenario, Overrides())
        users = self._in_flight
        if not self._options.headless and self._environment.runner is not None:
            users = self._environment.runner.target_user_count
        if isinstance(scenario, Closed) and users:
            return msgspec.structs.replace(scenario, in_flight=users)
        return scenario


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what a run needs beside Locust's own options."""
    parser.add_argument("--scenario", default="concurrency", help="a packaged name or a .toml")
    parser.add_argument("--model", default="", help="model to call")
    parser.add_argument("--out", default="reports", help="folder for the reports")


def prepare(environment: Environment, **_: object) -> None:
    """Refuse what cannot run; otherwise wait for Locust to start a run."""
    options, runner = environment.parsed_options, environment.runner
    if isinstance(runner, WorkerRunner):
        Hand(environment).listen(runner)
        return
    if options is None or not options.model or not options.host:
        sys.exit("heed: pass --host HOST:PORT and --model NAME")
    try:
        load(options.scenario, Overrides())
    except BadScenario as error:
        sys.exit(f"heed: {error}")
    if isinstance(runner, MasterRunner):
        Runs(environment, MasterCrew(environment, None, starts_them=False), options)
    else:
        Runs(environment, LocalCrew(environment), options)


events.init_command_line_parser.add_listener(add_options)
events.init.add_listener(prepare)
