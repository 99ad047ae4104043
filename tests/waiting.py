"""Wait for a state of another process, with a bound."""

import threading
from collections.abc import Callable
from time import monotonic

LIMIT_S = 30.0
PERIOD_S = 0.005


def until(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition holds; fail when it does not within the limit."""
    end = monotonic() + LIMIT_S
    pause = threading.Event()
    while not condition():
        assert monotonic() < end, "the state never came"
        pause.wait(PERIOD_S)
