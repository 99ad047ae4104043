"""Tell a person which step runs: a spinner on a terminal, one line per finished step everywhere.

Writes to standard error, so that standard output stays free for results.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console


class Progress:
    """Announces steps and remembers how long each took."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.durations_s: dict[str, float] = {}

    @contextmanager
    def step(self, title: str, *, spinner: bool = True) -> Iterator[None]:
        """Announce a step; a step that raises leaves no line.

        Without a spinner the step may draw progress bars of its own.
        """
        start = time.monotonic()
        # rich draws nothing of a status when the console is not a terminal.
        with self._console.status(title) if spinner else nullcontext():
            yield
        self.durations_s[title] = time.monotonic() - start
        self._console.print(f"{title}: {self.durations_s[title]:.1f} s", highlight=False)
