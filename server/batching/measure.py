"""Measure what runs of a bundle cost, on the session that will serve it.

A few dozen runs within about a second; tiny bundles take milliseconds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from time import perf_counter

import numpy as np

from server.batching.cost import Cost
from server.batching.fit import Observation, fit
from server.batching.layout import Layout, U
from server.batching.packing import TokenSequence
from server.batching.plan import Plan
from server.batching.row_layout import Row
from server.errors import BundleCorrupt, RunFailed
from server.repository.manifest import Limits, TextFiles
from server.runtime.session import Session

NUM_ROUNDS = 3
"""Times that each shape runs; the fastest counts, as nothing makes a run faster than it is."""
MAX_S = 1.0
"""Time after which no further run starts. Every shape has run once by then, or the model is so
slow that the first few tell what matters."""
MAX_BUDGETS = 4
"""Largest run that is measured, in budgets."""

DISPATCH_S = 1e-4
"""What each run costs beside its thread: planning takes 20 to 80 us, waking the thread and the loop
10 us, keeping the books the rest. Without it tiny models would seem best run alone."""

Shape = tuple[int, int, int]
"""Rows, sequences in each, tokens of each."""


def measure(
    session: Session, layout: Layout[U], runs: Sequence[tuple[list[U], Plan]]
) -> Cost | None:
    """Time the runs, laying out and taking apart included, and fit the cost to them.

    Returns None where there is nothing to run.

    Raises:
        BundleCorrupt: the graph fails on them.
    """
    fastest_s: dict[int, float] = {}
    started = perf_counter()
    for _ in range(NUM_ROUNDS):
        for index, (units, plan) in enumerate(runs):
            before = perf_counter()
            if before - started > MAX_S:
                break
            try:
                arrays = session.run(layout.pack(units, plan), layout.output_names)
                layout.scatter(arrays, units, plan)
            except (RunFailed, ValueError) as error:
                raise BundleCorrupt(f"a run to measure its cost failed: {error}") from error
            took_s = perf_counter() - before
            fastest_s[index] = min(took_s, fastest_s.get(index, took_s))
    if not fastest_s:
        return None
    cost = fit([_observation(runs[index][1], took_s) for index, took_s in fastest_s.items()])
    return replace(cost, run_s=cost.run_s + DISPATCH_S)


def sequence_runs(
    text: TextFiles, limits: Limits, budget: int
) -> list[tuple[list[TokenSequence], Plan]]:
    """Return runs of text that tell the parts of the cost apart, the most telling first."""
    return [_run(text, shape) for shape in dict.fromkeys(_shapes(limits.max_tokens, budget))]


def row_runs(row: Row, budget: int) -> list[tuple[list[Row], Plan]]:
    """Return runs of one row, of a full run and of half of one."""
    counts = dict.fromkeys((1, budget, max(1, budget // 2)))
    return [([row] * count, Plan(tuple((index,) for index in range(count)), 1)) for count in counts]


def one_sequence(text: TextFiles, length: int) -> TokenSequence:
    """Return a sequence of padding, which costs as much as any other, with one mask token."""
    ids = np.full(length, text.pad_id, np.int64)
    if text.mask_id is not None:
        ids[0] = text.mask_id
    first = text.position_offset
    return TokenSequence(ids, np.arange(first, first + length, dtype=np.int64))


def _shapes(max_tokens: int, budget: int) -> Iterator[Shape]:
    longest = min(max_tokens, budget)
    short, middle = max(1, longest // 16), max(1, longest // 4)
    yield 1, 1, 1
    yield 1, 1, longest
    yield 1, max(1, budget // short), short  # one wide row
    yield max(1, budget // short), 1, short  # many narrow ones
    yield max(1, budget // middle), 1, middle
    yield max(1, budget // longest), 1, longest
    yield 1, 1, short
    yield 1, 1, middle
    yield 1, 1, max(1, longest // 2)
    yield max(1, budget // middle), max(1, middle // short), short
    yield 1, max(1, budget // middle), middle
    yield 1, 1, min(max_tokens, budget * MAX_BUDGETS)


def _run(text: TextFiles, shape: Shape) -> tuple[list[TokenSequence], Plan]:
    num_rows, num_segments, length = shape
    indices = iter(range(num_rows * num_segments))
    rows = tuple(tuple(next(indices) for _ in range(num_segments)) for _ in range(num_rows))
    units = [one_sequence(text, length)] * (num_rows * num_segments)
    return units, Plan(rows, num_segments * length)


def _observation(plan: Plan, seconds: float) -> Observation:
    return Observation(len(plan.rows), plan.width, plan.num_units, seconds)
