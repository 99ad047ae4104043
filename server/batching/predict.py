"""When a request that comes now would be answered, by what runs have cost so far.

Single owner (the batcher). Time is an argument.
"""

from dataclasses import dataclass, field

SMOOTHING = 0.1
"""Share of the newest run in the running means: about the last twenty runs count."""
MARGIN = 1.25
"""A wait is predicted this much longer: runs vary, and answers take time to leave as well. What is
let in too late costs a run that nobody gets anything from; what is refused too early, nothing."""


@dataclass(slots=True)
class Predictor:
    """Running means of one model's runs."""

    assumed_s: float
    """Seconds that one thread needs for one token, or row, of a well filled run, by the cost that
    was measured before. Runs correct it by their ratio alone: small ones pay the fixed cost for
    few, and say nothing about what a queue that fills runs will take."""
    num_threads: int
    budget: int
    ratio: float = 1.0
    """Real over predicted seconds of a run."""
    _num_runs: int = 0
    _ends: dict[int, float] = field(default_factory=dict)

    @property
    def size_s(self) -> float:
        """The same, by what runs have taken since."""
        return self.assumed_s * self.ratio

    def start(self, run: int, predicted_s: float, now: float) -> None:
        """Note that a run began."""
        self._ends[run] = now + predicted_s * self.ratio

    def finish(self, run: int, predicted_s: float, run_s: float, *, ended: bool = False) -> None:
        """Learn from a run that is over. One that failed is predicted in 0 seconds: no lesson.

        One that was `ended` before it was through would have taken longer: it counts only where it
        had taken longer than predicted already. Left out, slow runs would never be learned from.
        """
        del self._ends[run]
        if run_s <= 0 or predicted_s <= 0 or (ended and run_s <= predicted_s * self.ratio):
            return
        # The first runs outweigh what was assumed, so that a wrong assumption is soon forgotten.
        self._num_runs += 1
        weight = max(SMOOTHING, 1 / self._num_runs)
        self.ratio += weight * (run_s / predicted_s - self.ratio)

    def run_s(self, size: int) -> float:
        """Return how long a run of this size takes once it has begun."""
        return min(size, self.budget) * self.size_s

    def wait_s(self, size_before: int, now: float) -> float:
        """Return how long a request waits for its run when `size_before` is served first."""
        is_busy = len(self._ends) >= self.num_threads
        first_free_s = max(0.0, min(self._ends.values()) - now) if is_busy else 0.0
        return MARGIN * (first_free_s + size_before * self.size_s / self.num_threads)

    def answer_s(self, size: int, size_before: int, now: float) -> float:
        """Return when the answer of a request of `size` is there, in seconds from now."""
        own_s = self.run_s(size_before + size)
        further_s = max(0, size - self.budget) * self.size_s / self.num_threads
        return self.wait_s(size_before, now) + MARGIN * (own_s + further_s)
