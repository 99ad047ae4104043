"""One run from order to report: connect, load, stop, write.

The only module that knows all the parts. The process must be a gevent process before this is
imported (`greenlets.install`).
"""

import signal
import socket
import sys
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import gevent
import psutil
from locust.env import Environment
from locust.runners import Runner
from locust.stats import stats_history

from loadtest import report, users
from loadtest.client import Client, code_name, read
from loadtest.scenario import Closed, Open
from loadtest.session import Session
from loadtest.workload import Payload, payloads

# How long the first call may take, and so how soon a dead target is known.
_PROBE_DEADLINE_S = 5.0
# Locust spawns once a second so many users at most.
_SPAWN_PER_S = 100
_PROBE_EVERY_NS = 10_000_000


class RunFailed(Exception):
    """The run could not be done; the text says what to change."""


@dataclass(frozen=True)
class Order:
    """What to run, against what, and where the report goes."""

    name: str
    scenario: Closed | Open
    target: str
    model: str
    folder: Path
    web_port: int | None = None


def run(order: Order) -> tuple[report.Report, Path]:
    """Do the run, write its files, and return the result and the path of its page."""
    bodies = build_payloads(order.scenario, order.model)
    check(order.target, order.model, bodies[0])
    environment = Environment(
        stop_timeout=order.scenario.deadline_s + 1, catch_exceptions=False, host=order.target
    )
    session = Session(order.scenario, order.target, bodies, users.observer(environment))
    environment.user_classes = [users.bind(session)]
    users.attach(session, environment)
    runner = environment.create_local_runner()
    if order.web_port is not None:
        _open_web_page(environment, runner, order.web_port)
    interrupt = gevent.signal_handler(signal.SIGINT, session.stop, "interrupted from the keyboard")
    gauge = Gauge()
    try:
        count = order.scenario.users if isinstance(order.scenario, Closed) else 1
        runner.start(count, spawn_rate=min(count, _SPAWN_PER_S))
        await_start(session, count)
        watch(session)
        runner.user_greenlets.join()
    finally:
        interrupt.cancel()
        runner.quit()
        if environment.web_ui is not None:
            environment.web_ui.stop()
    return conclude(order, session, gauge)


class Gauge:
    """CPU time of this process against the clock, and when it began."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()
        self.started_at = datetime.now(UTC).isoformat(timespec="seconds")

    def cpu(self) -> float:
        """Return cores in use since the beginning."""
        return self._process.cpu_percent() / 100


def build_payloads(scenario: Closed | Open, model: str) -> list[Payload]:
    """Return the bodies for a run; a closed loop's number of calls is not known before it."""
    span_s = scenario.warmup_s + scenario.duration_s
    expected = round(scenario.rate * span_s) if isinstance(scenario, Open) else 1 << 20
    return payloads(scenario, model, expected)


def check(target: str, model: str, payload: Payload) -> None:
    """Make one call before the run, so that a wrong address or model fails at once and plainly."""
    with closing(Client(target, _PROBE_DEADLINE_S)) as client:
        answer = client.embed(payload.body)
    code = code_name(read(answer, payload.texts).code)
    if code == "OK":
        return
    advice = {
        "UNAVAILABLE": f"nothing serves at {target}; start the server or correct --target",
        "DEADLINE_EXCEEDED": f"{target} gave no answer within {_PROBE_DEADLINE_S:g} s;"
        " correct --target or look at the server",
        "NOT_FOUND": f"{target} has no model called {model}; correct --model",
        "UNIMPLEMENTED": f"{target} does not serve heed.v1.TextService; correct --target",
        "WRONG_ANSWER": f"{target} did not answer one vector per text; is {model} an embedder?",
    }.get(code, f"{target} refused the first call; correct the scenario or --model")
    raise RunFailed(f"{advice} ({code}{': ' if answer.detail else ''}{answer.detail})")


def await_start(session: Session, count: int) -> None:
    """Wait until every user has its connection and the clock runs."""
    limit_s = 10 + count / _SPAWN_PER_S
    if not session.begun.wait(limit_s):
        raise RunFailed(f"{count} users were not up within {limit_s:g} s; lower --users")


def watch(session: Session) -> None:
    """Sample how late this process's timers fire, until the run is over."""
    if isinstance(session.scenario, Open):
        return  # every send is such a sample already

    def probe() -> None:
        due_ns = _PROBE_EVERY_NS
        while session.wait_until(due_ns) and not session.is_over():
            now_ns = session.now_ns()
            session.recording.append_probe(due_ns, now_ns - due_ns)
            due_ns = now_ns + _PROBE_EVERY_NS

    gevent.spawn(probe)


def conclude(order: Order, session: Session, gauge: Gauge) -> tuple[report.Report, Path]:
    """Work out the result of a finished session and write it."""
    circumstances = report.Circumstances(
        name=order.name,
        scenario=order.scenario,
        target=order.target,
        model=order.model,
        started_at=gauge.started_at,
        end_ns=session.end_ns,
        payloads=len(session.payloads),
        cpu=gauge.cpu(),
        disturbances=tuple(session.disturbances),
    )
    result = report.build(session.recording, circumstances)
    page = report.write(result, session.recording, order.folder)
    if session.failure is not None:
        raise RunFailed(f"the generator failed; what it recorded is in {page}") from session.failure
    return result, page


def _open_web_page(environment: Environment, runner: Runner, port: int) -> None:
    # Locust opens its socket in a greenlet of its own, where a failure would only be logged.
    with closing(socket.socket()) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError as error:
            raise RunFailed(f"port {port} is taken; pass another one to --web") from error
    # Locust's page reads the process's arguments again, as if they were its own.
    del sys.argv[1:]
    environment.create_web_ui("127.0.0.1", port)
    gevent.spawn(stats_history, runner)
