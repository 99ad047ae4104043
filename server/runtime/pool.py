"""Dispatch threads over one session: each runs one batch at a time.

The threads share the session's weights; with one intra-op thread per run they are the parallelism.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from server.runtime.session import Session

Result = TypeVar("Result")


class SessionPool:
    """A bounded number of concurrent runs."""

    def __init__(self, session: Session, num_threads: int, cores: Sequence[int] = ()) -> None:
        """Start the threads; thread i stays on `cores[i]` where cores are given."""
        self._session = session
        self._threads = [
            ThreadPoolExecutor(1, f"run-{index}", _stay, (cores[index : index + 1],))
            for index in range(num_threads)
        ]
        # A stack: the thread that ran last goes first, because its core's caches are still warm.
        self._idle = list(self._threads)

    @property
    def num_threads(self) -> int:
        """Runs that fit at the same time."""
        return len(self._threads)

    @property
    def num_idle(self) -> int:
        """Threads that could start a run now."""
        return len(self._idle)

    def start(self, work: Callable[[Session], Result]) -> asyncio.Future[Result]:
        """Run `work` on an idle thread. Call it from the event loop, with `num_idle` above 0."""
        thread = self._idle.pop()
        future = asyncio.get_running_loop().run_in_executor(thread, work, self._session)
        future.add_done_callback(partial(self._free, thread))
        return future

    def _free(self, thread: ThreadPoolExecutor, _: asyncio.Future[Result]) -> None:
        self._idle.append(thread)

    def close(self) -> None:
        """Wait for the runs under way and end the threads."""
        for thread in self._threads:
            thread.shutdown(wait=True)


def _stay(cores: Sequence[int]) -> None:
    if cores:
        os.sched_setaffinity(0, cores)  # 0 is the calling thread
