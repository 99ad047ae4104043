"""Dispatch threads over one session: each runs one batch at a time.

The threads share the session's weights; with one intra-op thread per run they are the parallelism.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from server.runtime.session import Session

Result = TypeVar("Result")


class SessionPool:
    """A bounded number of concurrent runs."""

    def __init__(self, session: Session, num_threads: int) -> None:
        self._session = session
        self._executor = ThreadPoolExecutor(num_threads, thread_name_prefix="run")
        self.num_threads = num_threads
        self.num_busy = 0

    @property
    def num_idle(self) -> int:
        """Threads that could start a run now."""
        return self.num_threads - self.num_busy

    def start(self, work: Callable[[Session], Result]) -> asyncio.Future[Result]:
        """Run `work` on an idle thread. Call it from the event loop, with `num_idle` above 0."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, work, self._session)
        self.num_busy += 1
        future.add_done_callback(self._free)
        return future

    def _free(self, _: asyncio.Future[Result]) -> None:
        self.num_busy -= 1

    def close(self) -> None:
        """Wait for the runs under way and end the threads."""
        self._executor.shutdown(wait=True)
