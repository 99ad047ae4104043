"""The calls that are using one loaded model, so that it is not closed under them.

Lives on the event loop. A call is the asyncio task that answers it, for as long as that task lasts:
nobody has to give anything back, whichever way a call ends.
"""

import asyncio


class Users:
    """Tasks that hold one model."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def hold(self) -> None:
        """Count the current task as a user until it ends. Nothing outside of a task."""
        task = _current_task()
        if task is not None and task not in self._tasks:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def gone(self, limit_s: float | None = None) -> bool:
        """Wait until every user has ended, at most so long. Return whether they all have.

        Only for a model that takes no new users.
        """
        if self._tasks:
            await asyncio.wait(self._tasks.copy(), timeout=limit_s)
        return all(task.done() for task in self._tasks)


def _current_task() -> "asyncio.Task[object] | None":
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None  # no event loop runs here
