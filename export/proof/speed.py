"""Speed: forms of one model against each other, and how many tokens a run should hold.

Everything is measured in CPU seconds of one thread, and the candidates take turns in one process,
so that whatever else the machine does meets all of them alike. Ratios between candidates mean
something on another day; the seconds themselves do not.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from server.runtime.session import Array, Session, SessionConfig

ROW_TOKENS = 64
"""Width of the rows that short sequences are packed into."""

RUN_TOKENS = (128, 256, 384, 512, 1024, 2048)
"""Sizes of a run among which the packing budget is chosen."""

SERVED_RUN_S = 1.5e-3
"""What a run costs a server beside itself: planning, waking threads, caches that the answers have
emptied. Served MiniLM-L6 gains 4 % in fp32 and 8 % in int8 from runs of 384 tokens instead of 256,
where the runs alone gain nothing."""

SLACK = 0.015
"""A smaller run is worth this much throughput: its callers wait less."""

_BURST_S = 0.03
"""Shortest stretch timed at once: one run of a small model is nearer to the clock's resolution."""

_MIN_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Candidate:
    """A graph file and how its session is opened."""

    name: str
    path: Path
    disabled_optimizers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of the inputs of one run."""

    rows: int
    length: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.length}"


SHAPES = (Shape(1, 16), Shape(8, 32), Shape(1, 256))
"""A short text alone, a small batch, one long text."""

Feeds = Callable[[Shape], Mapping[str, Array]]
"""Inputs for a run. A candidate is given those that its graph has."""


@dataclass(frozen=True, slots=True)
class Measurements:
    """CPU seconds of one run: candidate -> shape -> one figure for each round, in order."""

    seconds: Mapping[str, Mapping[Shape, Sequence[float]]]

    def median(self, name: str, shape: Shape) -> float:
        """Return the median of the rounds."""
        return statistics.median(self.seconds[name][shape])

    def speedup(self, name: str, baseline: str, shape: Shape) -> float:
        """Return how many times as fast as the baseline a candidate is: the median of the rounds.

        Within a round both met the same machine, so their ratio is steadier than either figure.
        """
        rounds = zip(self.seconds[baseline][shape], self.seconds[name][shape], strict=True)
        return statistics.median(base / own for base, own in rounds)


@dataclass(frozen=True, slots=True)
class Decision:
    """The fastest candidate; the baseline itself where nothing beats it."""

    name: str
    speedup: float
    """Over the baseline, geometric mean over the shapes."""
    by_shape: Mapping[Shape, float]


@dataclass(frozen=True, slots=True)
class PackingBudget:
    """How many tokens a run of packed texts should hold."""

    max_batch_tokens: int
    tokens_per_s: Mapping[int, float]
    """Throughput of a core by tokens of a run, `SERVED_RUN_S` included."""


def compare(
    candidates: Sequence[Candidate],
    feeds: Feeds,
    shapes: Sequence[Shape] = SHAPES,
    *,
    budget_s: float = 20.0,
) -> Measurements:
    """Run every candidate at every shape, interleaved.

    Takes about `budget_s` seconds, or longer where five rounds do. All sessions are open at once.

    Raises:
        BundleCorrupt: the runtime refuses a candidate's file.
        RunFailed: a candidate cannot run the feeds.
    """
    sessions = {candidate.name: _open(candidate) for candidate in candidates}
    seconds: dict[str, dict[Shape, Sequence[float]]] = {name: {} for name in sessions}
    for shape in shapes:
        inputs = feeds(shape)
        runs = {name: _run(session, inputs) for name, session in sessions.items()}
        for name, rounds in _interleave(runs, budget_s / len(shapes)).items():
            seconds[name][shape] = rounds
    return Measurements(seconds)


def fastest(measurements: Measurements, baseline: str) -> Decision:
    """Return the candidate with the largest speedup over the baseline."""
    shapes = list(measurements.seconds[baseline])
    best = Decision(baseline, 1.0, dict.fromkeys(shapes, 1.0))
    for name in measurements.seconds:
        by_shape = {shape: measurements.speedup(name, baseline, shape) for shape in shapes}
        speedup = statistics.geometric_mean(by_shape.values())
        if speedup > best.speedup:
            best = Decision(name, speedup, by_shape)
    return best


def packing_budget(
    candidate: Candidate,
    feeds: Feeds,
    *,
    row_tokens: int = ROW_TOKENS,
    run_tokens: Sequence[int] = RUN_TOKENS,
    budget_s: float = 10.0,
) -> PackingBudget:
    """Measure throughput as served by size of run, and choose the smallest that is nearly best.

    Raises:
        BundleCorrupt, RunFailed: as `compare`.
    """
    session = _open(candidate)
    shapes = {size: Shape(max(1, size // row_tokens), min(size, row_tokens)) for size in run_tokens}
    runs = {str(size): _run(session, feeds(shape)) for size, shape in shapes.items()}
    rounds = _interleave(runs, budget_s)
    tokens_per_s = {
        size: shape.rows * shape.length / (statistics.median(rounds[str(size)]) + SERVED_RUN_S)
        for size, shape in shapes.items()
    }
    return PackingBudget(smallest_sufficient(tokens_per_s), tokens_per_s)


def smallest_sufficient(tokens_per_s: Mapping[int, float], slack: float = SLACK) -> int:
    """Return the smallest size whose throughput is within `slack` of the best."""
    enough = (1.0 - slack) * max(tokens_per_s.values())
    return min(size for size, throughput in tokens_per_s.items() if throughput >= enough)


def _open(candidate: Candidate) -> Session:
    # One thread: its CPU time is the time of the run, whatever runs beside it.
    config = SessionConfig(disabled_optimizers=candidate.disabled_optimizers)
    return Session(candidate.path, config)


def _run(session: Session, inputs: Mapping[str, Array]) -> Callable[[], object]:
    known = {name: inputs[name] for name in session.input_names}
    return lambda: session.run(known)


def _interleave(
    runs: Mapping[str, Callable[[], object]], budget_s: float
) -> dict[str, tuple[float, ...]]:
    """Return CPU seconds per run, by round, with the order turned round every other round."""
    repeats = {name: _repeats(run) for name, run in runs.items()}
    rounds: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    end = time.perf_counter() + budget_s
    while len(rounds[order[0]]) < _MIN_ROUNDS or time.perf_counter() < end:
        for name in order:
            rounds[name].append(_time(runs[name], repeats[name]))
        order.reverse()
    return {name: tuple(figures) for name, figures in rounds.items()}


def _repeats(run: Callable[[], object]) -> int:
    """Return how many runs are timed at once, from the second run: the first allocates."""
    run()
    started = time.thread_time()
    run()
    return max(1, math.ceil(_BURST_S / max(time.thread_time() - started, 1e-6)))


def _time(run: Callable[[], object], repeats: int) -> float:
    if repeats > 1:
        # The candidate before has emptied the cache of a model that is small enough to have one.
        run()
    started = time.thread_time()
    for _ in range(repeats):
        run()
    return (time.thread_time() - started) / repeats
