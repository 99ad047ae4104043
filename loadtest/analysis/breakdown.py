"""Where the time of a call went, from the server's own account of each answer. Pure.

Six stages of every timed call sum to its latency from schedule, to the nanosecond:

    lag        due until sent: the generator
    network    sent until answered, without what the server counted: wire, gRPC on both sides
    tokenize   of the server's total
    queue
    run
    rest       the server's total without the three above: parsing, building the answer

Texts of one call may run in different batches, and the server names the longest wait and the
longest run; the two may overlap, so that the three exceed the total. Time in which one text of a
call ran while another waited then counts as run: the queue is cut to what is left, and run and
tokenize only where that does not suffice. A server that counts more than the client waited (a
stream's answers overlap) is cut to what the client waited.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from loadtest.analysis.confidence import minimum_samples
from loadtest.analysis.figures import Breakdown, Slice, Stage
from loadtest.record.calls import Calls
from loadtest.record.row import Column

STAGES: Final = ("lag", "network", "tokenize", "queue", "run", "rest")
SLICES: Final = (50.0, 90.0, 95.0, 99.0, 99.9)
WINDOW: Final = 0.1
"""A slice holds the calls whose rank is so close to the percentile's: this share of the ranks
between it and the nearer end, so p50 +- 5 points, p90 +- 1, p99 +- 0.1, and never fewer than
`LEAST` calls to either side where there are so many."""
LEAST: Final = 2
FLAT: Final = 0.1
"""A tail that is longer than the median by no more than this share of it has no owner."""


def breakdown(due: Calls) -> Breakdown | None:
    """Return where the time went; None when no answer carried timings."""
    answered = due.answered
    timed = answered.where(answered.rows["total_ns"] >= 0)
    if len(timed) == 0:
        return None
    spent = stages_ns(timed)
    slices = _slices(timed.latency_ns, spent)
    owner, text = _tail(slices)
    return Breakdown(
        timed=len(timed),
        stages={name: _stage(column) for name, column in spent.items()},
        slices=slices,
        tail_owner=owner,
        tail_text=text,
    )


def stages_ns(timed: Calls) -> dict[str, Column]:
    """Return the stages of calls that have a total, each column as long as the calls, in order."""
    waited = timed.send_latency_ns
    total = np.minimum(timed.column("total_ns"), waited)
    # A stage that the server did not name took no time of its own: MISSING is below 0.
    tokenize = np.clip(timed.column("tokenize_ns"), 0, total)
    run = np.clip(timed.column("run_ns"), 0, total - tokenize)
    queue = np.clip(timed.column("queue_ns"), 0, total - tokenize - run)
    return {
        "lag": timed.lag_ns,
        "network": waited - total,
        "tokenize": tokenize,
        "queue": queue,
        "run": run,
        "rest": total - tokenize - queue - run,
    }


def _stage(column: Column) -> Stage:
    p50, p95, p99 = (float(np.percentile(column, p)) / 1000 for p in (50, 95, 99))
    return Stage(float(column.mean()) / 1000, p50, p95, p99)


def _slices(latency_ns: Column, spent: dict[str, Column]) -> tuple[Slice, ...]:
    order = np.argsort(latency_ns, kind="stable")
    claimed = [p for p in SLICES if len(order) >= minimum_samples(p)]
    return tuple(_slice(p, latency_ns, spent, order[about(p, len(order))]) for p in claimed)


def about(percentile: float, count: int) -> slice:
    """Return the ranks, from 0 on, of the calls that stand for a percentile."""
    # The product is rounded first, as the histogram does.
    rank = int(np.ceil(round(percentile * count / 100, 9))) - 1
    half = max(int(WINDOW * min(rank, count - 1 - rank)), LEAST)
    return slice(max(rank - half, 0), min(rank + half, count - 1) + 1)


def _slice(
    percentile: float, latency_ns: Column, spent: dict[str, Column], chosen: npt.NDArray[np.int64]
) -> Slice:
    means = {name: float(column[chosen].mean()) / 1000 for name, column in spent.items()}
    return Slice(percentile, float(latency_ns[chosen].mean()) / 1000, len(chosen), means)


def _tail(slices: tuple[Slice, ...]) -> tuple[str, str]:
    """Return the stage that grows most from the median to the slowest slice, and a sentence."""
    if len(slices) <= 1:
        return "", f"too few timed calls for a tail: p90 needs {minimum_samples(90)}"
    middle, slowest = slices[0], slices[-1]
    more = slowest.latency - middle.latency
    says = f"p{slowest.percentile:g} is about {_time(slowest.latency)}"
    if more <= FLAT * middle.latency:
        return "", f"{says}, hardly above the median of {_time(middle.latency)}"
    grown = {name: slowest.stages[name] - middle.stages[name] for name in slowest.stages}
    owner = max(grown, key=lambda name: grown[name])
    # Other stages may have shrunk meanwhile; more than everything is everything.
    part = "all" if grown[owner] >= more else _time(grown[owner])
    name = "lag, before the call was sent" if owner == "lag" else owner
    return owner, f"{says}, {_time(more)} above the median; {part} of that is {name}"


def _time(us: float) -> str:
    """Return a duration with two or three digits that count."""
    if us >= 1e6:  # noqa: PLR2004  a second
        return f"{us / 1e6:.2f} s"
    ms = us / 1000
    return f"{ms:.2f} ms" if ms < 1 else f"{ms:.1f} ms" if ms < 10 else f"{ms:.0f} ms"  # noqa: PLR2004
