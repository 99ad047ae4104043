"""What one Locust process is told to do in a run, and how its user gets it done.

Owns the sender of this process: prepares it, names instant 0, passes on what it records. Knows
neither who gives the orders nor where the news go.
"""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from gevent.event import AsyncResult
from locust.env import Environment

from loadtest.errors import RunFailed
from loadtest.fabric.feed import feed, names
from loadtest.fabric.words import (
    MOST_ROWS,
    Batch,
    Begin,
    Broken,
    Command,
    Ended,
    Halt,
    News,
    Prepared,
)
from loadtest.record.row import ROW, Column, Rows
from loadtest.sender.child import Child, Probes
from loadtest.sender.order import Done, Order

Post = Callable[[int, News], None]
"""Told the run and the news; must not wait."""


@dataclass
class _Task:
    """One order, from its arrival to the sender's last word."""

    run: int
    order: Order
    begin: "AsyncResult[int]" = field(default_factory=AsyncResult)
    child: Child | None = None
    is_sending: bool = False
    halted: str = ""


class Desk:
    """Takes one order after the other; the user of this process works them off."""

    def __init__(self, environment: Environment, post: Post, every_s: float) -> None:
        """News of calls are posted every so many seconds at most; 0 is as they come."""
        self._environment = environment
        self._post = post
        self._every_s = every_s
        self._task: _Task | None = None

    def take(self, run: int, order: Order) -> None:
        """Have this order done by the next user that starts."""
        self._task = _Task(run, order)

    def obey(self, run: int, command: Command) -> None:
        """Begin or halt the run, if it is the one at hand."""
        task = self._task
        if task is None or task.run != run:
            return
        match command:
            case Begin(at_ns=at_ns):
                task.begin.set(at_ns)
            case Halt(reason=reason):
                task.halted = reason
                if task.child is not None and task.is_sending:
                    task.child.stop(reason)

    def work(self) -> None:
        """Do the order that was taken last; at once over when there is none."""
        task = self._task
        if task is None or task.child is not None:
            return
        try:
            self._send(task)
        except RunFailed as error:
            self._post(task.run, Broken(str(error)))
        except Exception as error:  # noqa: BLE001  (whatever it is, it ends the run and says so)
            self._post(task.run, Broken(f"the generator failed: {error!r}"))
        finally:
            self._task = None

    def _send(self, task: _Task) -> None:
        child = task.child = Child(task.order)
        try:
            ready = child.ready()
            self._post(task.run, Prepared(ready, socket.gethostname(), child.pid, os.getpid()))
            at_ns = task.begin.get()
            assert at_ns is not None
            child.start(at_ns)
            task.is_sending = True
            if task.halted:
                child.stop(task.halted)
            self._pass_on(task, child)
        finally:
            child.close()

    def _pass_on(self, task: _Task, child: Child) -> None:
        """Post what the sender records until its last call has ended."""
        kinds = names(task.order.scenario.requests, task.order.model)
        outbox = _Outbox(lambda batch: self._post(task.run, batch), self._every_s)
        for told in child.frames():
            if isinstance(told, Done):
                outbox.send()
                self._post(task.run, Ended(told, outbox.rows_sent))
            elif isinstance(told, Probes):
                outbox.add_probes(np.column_stack((told.at_ns, told.lag_ns)))
            else:
                feed(self._environment.stats, told, kinds)
                outbox.add_rows(told)


class _Outbox:
    """Collects what a sender tells into fewer, larger batches."""

    def __init__(self, post: Callable[[Batch], None], every_s: float) -> None:
        self.rows_sent = 0
        self._post = post
        self._every_s = every_s
        self._rows: list[Rows] = []
        self._probes: list[Column] = []
        self._sent_s = time.monotonic()

    def add_rows(self, rows: Rows) -> None:
        self._rows.append(rows)
        self._send_if_due()

    def add_probes(self, probes: Column) -> None:
        self._probes.append(probes)
        self._send_if_due()

    def _send_if_due(self) -> None:
        if time.monotonic() - self._sent_s >= self._every_s:
            self.send()

    def send(self) -> None:
        """Post everything that has been collected, in batches that a message may hold."""
        if not self._rows and not self._probes:
            return
        rows = np.concatenate(self._rows) if self._rows else np.zeros(0, ROW)
        probes = np.concatenate([np.zeros((0, 2), np.int64), *self._probes])
        for first in range(0, max(len(rows), 1), MOST_ROWS):
            self._post(Batch(rows[first : first + MOST_ROWS], probes[: 0 if first else None]))
        self.rows_sent += len(rows)
        self._rows, self._probes = [], []
        self._sent_s = time.monotonic()
