"""Instants of a run on the machine's monotonic clock, and waiting for them as exactly as pays.

Every process on a machine reads the same clock, so one instant 0 holds for all of them.
"""

import ctypes
import gc
import sys
import time
from collections.abc import Callable

NS_PER_S = 1_000_000_000
# A thread that waits for the interpreter gets it after so long. With Python's own 5 ms the lag's
# p99 at 4,000 calls/s is two to three times as high.
_SWITCH_S = 0.000_1
# A sleep is cut into such pieces, so that a stop is heard in time.
_PIECE_NS = 50_000_000
# A timer fires about this late, so it is set earlier and the rest is spent yielding: median lag
# 60 us -> 37 us at 1,000 calls/s for a twentieth more CPU. Twice as early gains 6 us more for as
# much CPU again.
_TIMER_LATE_NS = 40_000
_PR_SET_TIMERSLACK = 29


class Clock:
    """Nanoseconds since instant 0, once that has been named."""

    def __init__(self) -> None:
        self._origin_ns = 0

    def begin(self, at_ns: int) -> None:
        """Name instant 0, on CLOCK_MONOTONIC."""
        self._origin_ns = at_ns

    def now_ns(self) -> int:
        """Return the time since instant 0; negative before it."""
        return time.monotonic_ns() - self._origin_ns

    def wait_until(self, instant_ns: int, is_over: Callable[[], bool]) -> bool:
        """Sleep until the instant, not at all if it is past; False when it is over before."""
        while not is_over():
            left_ns = instant_ns - self.now_ns()
            if left_ns <= 0:
                return True
            time.sleep(max(0, min(left_ns - _TIMER_LATE_NS, _PIECE_NS)) / NS_PER_S)
        return False


def sharpen() -> None:
    """Make this process send on time: short turns of the interpreter, few collections.

    Call it when everything that stays has been built.
    """
    sys.setswitchinterval(_SWITCH_S)
    # What exists now lives as long as the process: no collection needs to look at it again.
    gc.collect()
    gc.freeze()


def sharpen_thread() -> None:
    """Let timers of the calling thread fire when they are due; Linux adds 50 us otherwise."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
