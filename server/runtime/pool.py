"""Dispatch threads over a model's sessions: each runs one batch at a time.

With one intra-op thread per run, threads share one session's weights and are the parallelism.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread, get_native_id
from typing import Any, TypeVar

from server.runtime.session import Session

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Job = tuple[Callable[[Session], Any], Callable[[Any], None]]


class SessionPool:
    """A bounded number of concurrent runs. Belongs to the event loop that starts them."""

    def __init__(
        self,
        sessions: Sequence[Session],
        num_threads: int,
        cores: Sequence[int] = (),
        niceness: int = 0,
    ) -> None:
        """Start the threads; thread i uses `sessions[i]`, in turns, and stays on `cores[i]`.

        With a `niceness` they give way to the other threads of the process.
        """
        self._sessions = tuple(sessions)
        threads = [
            _Dispatcher(
                self._sessions[index % len(self._sessions)],
                f"run-{index}",
                partial(_settle, tuple(cores[index : index + 1]), niceness),
            )
            for index in range(num_threads)
        ]
        self._threads = tuple(threads)
        # A stack: the thread that ran last goes first, because its core's caches are still warm.
        self._idle = threads

    @property
    def num_threads(self) -> int:
        """Runs that fit at the same time."""
        return len(self._threads)

    @property
    def num_idle(self) -> int:
        """Threads that could start a run now."""
        return len(self._idle)

    def start(
        self, work: Callable[[Session], Result], done: Callable[[Result | Exception], None]
    ) -> None:
        """Run `work` on an idle thread and then `done` with what it returned, or raised, here.

        Call it from the event loop, with `num_idle` above 0. The thread is idle again when `done`
        is called.
        """
        thread = self._idle.pop()
        thread.run(work, partial(self._finish, thread, done))

    def _finish(self, thread: "_Dispatcher", done: Callable[[Any], None], result: object) -> None:
        self._idle.append(thread)
        done(result)

    def close(self) -> None:
        """Wait for the runs under way, end the threads and free the sessions."""
        for thread in self._threads:
            thread.close()
        for session in self._sessions:
            session.close()


class _Dispatcher:
    """One thread. A queue and a wake-up each way is all that a run pays for it."""

    def __init__(self, session: Session, name: str, settle: Callable[[], None]) -> None:
        self._jobs: SimpleQueue[tuple[asyncio.AbstractEventLoop, Job] | None] = SimpleQueue()
        self._session = session
        self._settle = settle
        self._thread = Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Callable[[Session], Any], done: Callable[[Any], None]) -> None:
        self._jobs.put((asyncio.get_running_loop(), (work, done)))

    def _work(self) -> None:
        self._settle()
        while (job := self._jobs.get()) is not None:
            loop, (work, done) = job
            try:
                result = work(self._session)
            # Whatever happened belongs to those who wait for this run, and the thread lives on.
            except Exception as error:  # noqa: BLE001
                result = error
            # A forced exit closes the loop under a run; nobody is left to tell.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(done, result)
            del job, work, done, result  # an idle thread holds nothing of its last run

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join()


def _settle(cores: Sequence[int], niceness: int) -> None:
    """Give the calling thread its core and its priority, as far as the system lets it.

    Both are wishes: cores may be taken away, and who is nicer already may not become less so.
    """
    try:
        if cores:
            os.sched_setaffinity(0, cores)  # 0 is the calling thread
        if niceness and sys.platform == "linux":  # elsewhere it is the process that has a priority
            present = os.getpriority(os.PRIO_PROCESS, get_native_id())
            os.setpriority(os.PRIO_PROCESS, get_native_id(), max(present, niceness))
    except OSError as error:
        log.warning(
            "a run thread has no place or priority of its own", extra={"reason": str(error)}
        )
