"""A backlog of text that is all there from the start, for measuring in process.

Seeded lengths, the runs that the server would make of them, and threads that work them off.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from time import perf_counter, sleep

import numpy as np

from server.batching.batcher import BatchOptions
from server.batching.measure import one_sequence
from server.batching.packing import Ids, TokenSequence
from server.batching.plan import Plan
from server.batching.scheduler import WINDOW_BUDGETS
from server.batching.sessions import Opened
from server.repository.manifest import Limits, TextFiles
from server.runtime.session import Session

SEED = 20
NUM_TEXTS = 512
# Lengths of short documents, as the packaged load scenarios draw them: 34 tokens on average.
MEAN_TOKENS, SIGMA = 34.0, 0.8
MIN_TOKENS, MAX_TOKENS = 3, 231
UNLOADED_TOKENS = 16
UNLOADED_PAUSE_S = 0.0015
"""Between runs, as long as a call of one caller spends outside the run. Back to back, caches stay
warm and a run is a quarter faster than any caller who is alone can see."""

Run = tuple[list[TokenSequence], Plan]
"""The sequences of a run, and how they lie in it."""


def seeded(limits: Limits, num_texts: int = NUM_TEXTS) -> list[Ids]:
    """Return token ids of log-normal lengths, the same ones every time."""
    random = np.random.default_rng(SEED)
    lengths = random.lognormal(np.log(MEAN_TOKENS) - SIGMA**2 / 2, SIGMA, num_texts).astype(
        np.int64
    )
    lengths = lengths.clip(MIN_TOKENS, min(MAX_TOKENS, limits.max_tokens))
    return [random.integers(0, limits.vocabulary, length) for length in lengths]


def sequences(ids: Sequence[Ids], position_offset: int) -> list[TokenSequence]:
    """Return texts as the units that wait."""
    return [
        TokenSequence(one, np.arange(position_offset, position_offset + len(one), dtype=np.int64))
        for one in ids
    ]


def runs(waiting: Sequence[TokenSequence], options: BatchOptions[TokenSequence]) -> list[Run]:
    """Plan the whole backlog, each run from as many of the oldest as the batcher would show."""
    left = list(waiting)
    planned: list[Run] = []
    while left:
        plan = options.layout.plan(_window(left, options.budget), options.budget)
        chosen = plan.chosen
        planned.append(([left[index] for index in chosen], plan.renumbered()))
        for index in reversed(chosen):
            del left[index]
    return planned


def work_off(opened: Opened, options: BatchOptions[TokenSequence], planned: Sequence[Run]) -> float:
    """Do the runs on as many threads as the server would have, and return the seconds.

    Raises:
        RunFailed: one of them failed.
    """
    layout, choice = options.layout, opened.choice
    left = deque(planned)

    def work(session: Session) -> None:
        while True:
            try:
                units, plan = left.popleft()
            except IndexError:
                return
            session.run(layout.pack(units, plan), layout.output_names)

    sessions = [
        opened.sessions[index % len(opened.sessions)] for index in range(choice.num_threads)
    ]
    with ThreadPoolExecutor(choice.num_threads) as executor:
        started = perf_counter()
        list(executor.map(work, sessions))
        return perf_counter() - started


def unloaded_ms(
    session: Session, options: BatchOptions[TokenSequence], text: TextFiles, num_runs: int
) -> float:
    """Return the median milliseconds of one short text alone, with a caller's pause between."""
    layout = options.layout
    one = one_sequence(text, UNLOADED_TOKENS)
    plan = Plan(rows=((0,),), width=UNLOADED_TOKENS)
    times = []
    for _ in range(num_runs):
        started = perf_counter()
        session.run(layout.pack([one], plan), layout.output_names)
        times.append(perf_counter() - started)
        sleep(UNLOADED_PAUSE_S)
    return median(times) * 1000


def _window(waiting: Sequence[TokenSequence], budget: int) -> Sequence[TokenSequence]:
    tokens = 0
    for count, sequence in enumerate(waiting, start=1):
        tokens += len(sequence)
        if tokens > budget * WINDOW_BUDGETS:
            return waiting[:count]
    return waiting
