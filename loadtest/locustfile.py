"""The same users under Locust's own command and web page.

    locust -f loadtest/locustfile.py --host HOST:PORT --model NAME --scenario open

Locust starts, stops and counts; every start is a run of its own and ends in a report of its own
under --out. The scenario says how long; --users replaces the users of a closed loop.
"""

from loadtest import greenlets

greenlets.install()

# The patch must come before everything that may import grpc or sockets.
import argparse  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from datetime import UTC, datetime  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
import msgspec  # noqa: E402
from locust import events  # noqa: E402
from locust.env import Environment  # noqa: E402
from locust.runners import STATE_RUNNING, STATE_SPAWNING, LocalRunner  # noqa: E402
from rich.console import Console  # noqa: E402

from loadtest import run, terminal, users  # noqa: E402
from loadtest.cli import INVALID, VALID  # noqa: E402
from loadtest.scenario import BadScenario, Closed, Overrides, load  # noqa: E402
from loadtest.session import Session  # noqa: E402

# Locust takes its user classes from the names in this file.
from loadtest.users import ClosedUser, OpenUser  # noqa: E402

__all__ = ["ClosedUser", "OpenUser"]


class Runs:
    """The runs that Locust starts one after the other, each with a session of its own."""

    def __init__(self, environment: Environment, runner: LocalRunner, options: Any) -> None:  # noqa: ANN401  Locust's own
        self._environment = environment
        self._runner = runner
        self._options = options
        self._started: tuple[run.Order, Session, run.Gauge, Callable[[], None]] | None = None
        scenario = load(options.scenario, Overrides.none())
        environment.user_classes = [ClosedUser if isinstance(scenario, Closed) else OpenUser]
        environment.stop_timeout = scenario.deadline_s + 1
        environment.events.test_start.add_listener(self.begin)
        environment.events.test_stop.add_listener(self.end)

    def begin(self, **_: object) -> None:
        """Make the session of the run that Locust is about to start."""
        options = self._options
        scenario = load(options.scenario, Overrides.none())
        if isinstance(scenario, Closed):
            scenario = msgspec.structs.replace(scenario, users=self._runner.target_user_count)
        # The host may have been changed on the page, and Locust likes it with a scheme.
        target = str(self._environment.host).split("://")[-1]
        stem = Path(options.scenario).stem
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        folder = Path(options.out) / f"{stem}-{stamp}"
        order = run.Order(stem, scenario, target, options.model, folder)
        bodies = run.build_payloads(scenario, options.model)
        session = Session(scenario, target, bodies, users.observer(self._environment))
        users.bind(session)
        detach = users.attach(session, self._environment)
        self._started = order, session, run.Gauge(), detach
        gevent.spawn(self._stop_when_over, session)

    def end(self, **_: object) -> None:
        """Write the report of the run that Locust has stopped."""
        if self._started is None:
            return
        order, session, gauge, detach = self._started
        self._started = None
        detach()
        result, page = run.conclude(order, session, gauge)
        terminal.show(result, page, Console(), is_brief=False)
        self._environment.process_exit_code = VALID if result.verdict.valid else INVALID

    def _stop_when_over(self, session: Session) -> None:
        session.begun.wait()
        run.watch(session)
        self._runner.user_greenlets.join()
        if self._runner.state not in {STATE_SPAWNING, STATE_RUNNING}:
            return  # Locust is stopping the run already
        if self._options.headless:
            self._runner.quit()
        else:
            self._runner.stop()


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what a run needs beside Locust's own options."""
    parser.add_argument("--scenario", default="closed", help="a packaged name or a .toml")
    parser.add_argument("--model", default="", help="model to call")
    parser.add_argument("--out", default="reports", help="folder for the reports")


def prepare(environment: Environment, **_: object) -> None:
    """Refuse what cannot run; otherwise wait for Locust to start a run."""
    options, runner = environment.parsed_options, environment.runner
    if not isinstance(runner, LocalRunner):
        # A schedule split over processes would need one clock for all of them.
        sys.exit("heed: runs in one Locust process; leave out --master, --worker, --processes")
    if options is None or not options.model or not options.host:
        sys.exit("heed: pass --host HOST:PORT and --model NAME")
    try:
        Runs(environment, runner, options)
    except BadScenario as error:
        sys.exit(f"heed: {error}")


events.init_command_line_parser.add_listener(add_options)
events.init.add_listener(prepare)
