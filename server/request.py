"""One call as the server sees it, from the door to the answer: identity, deadline, timings.

Values only. The current request travels in a context variable, so that the log and the tasks
find it without every function passing it on.
"""

import math
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import monotonic

from server.errors import DeadlineExpired


@dataclass(slots=True)
class Timings:
    """Seconds spent per stage. Texts of one call may share different runs: the longest counts."""

    tokenize_s: float = 0.0
    queue_s: float = 0.0
    run_s: float = 0.0
    batch_sequences: int = 0
    batch_tokens: int = 0


@dataclass(slots=True)
class Request:
    """The envelope of one call."""

    id: str = ""
    deadline: float = math.inf
    """On the monotonic clock; infinite when the caller set none."""
    priority: int = 0
    """Level, 1 first; 0 is the middle one."""
    started: float = field(default_factory=monotonic)
    timings: Timings = field(default_factory=Timings)

    def require_time_left(self) -> None:
        """Refuse to start work that nobody waits for any more.

        Raises:
            DeadlineExpired: the deadline has passed.
        """
        if monotonic() >= self.deadline:
            raise DeadlineExpired("the deadline passed before the work began; allow more time")


current: ContextVar[Request] = ContextVar("current")
"""The request that this task answers. Set once per call, by the RPC boundary."""
