"""Do runs: a plan in, everything that was recorded out.

Importing this is harmless; the process becomes a gevent process when a fabric is opened.
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

from loadtest.errors import RunFailed
from loadtest.fabric.glimpse import Glimpse, Observer
from loadtest.fabric.outcome import Finished, Plan
from loadtest.fabric.words import INTERRUPTED

if TYPE_CHECKING:
    from loadtest.fabric.stage import Stage

__all__ = ["INTERRUPTED", "Fabric", "Finished", "Glimpse", "Observer", "Plan", "execute"]


def execute(plan: Plan, observe: Observer | None = None) -> Finished:
    """Do one run; for several, open a `Fabric` and keep its processes.

    Raises:
        RunFailed: it could not be done; the text says what to change.
    """
    with Fabric(plan, observe) as fabric:
        return fabric.run(plan)


class Fabric:
    """Locust's runner with the processes that send, kept for one run after the other.

    Ctrl-C ends the run in order, INVALID; a second one ends everything at once.
    """

    def __init__(self, plan: Plan, observe: Observer | None = None) -> None:
        """Take number and place of the workers, and the page's port, from this plan."""
        self._plan = plan
        self._observe = observe
        self._is_interrupted = False
        self._stage: Stage

    def __enter__(self) -> Self:
        """Start Locust, and the workers of this machine.

        Raises:
            RunFailed: a port is taken.
        """
        # Only now, so that whoever merely imports this module keeps a process without gevent.
        from loadtest.fabric import greenlets  # noqa: PLC0415

        greenlets.install()
        from loadtest.fabric.stage import Stage  # noqa: PLC0415

        self._stage = Stage(self._plan, self._observe)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._interrupt)
        return self

    def run(self, plan: Plan) -> Finished:
        """Do one run: any scenario, target and model.

        Raises:
            RunFailed: it could not be done, or an earlier one was interrupted.
        """
        if self._is_interrupted:
            raise RunFailed(INTERRUPTED)
        return self._stage.run(plan)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Send the workers home."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self._stage.close()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  (the system's)
        if self._is_interrupted:
            # A third one is Python's own business.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._stage.abandon()
        else:
            self._is_interrupted = True
            self._stage.interrupt()
