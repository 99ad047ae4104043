"""The figures of a replay: who was served and when, what threads did, and who had to wait for whom.

Pure. Times are in seconds; shares are of 1.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from server.batching.cost import Cost
from server.batching.plan import conventional_s
from server.batching.replay import Fate, Job, Played, Service


@dataclass(frozen=True, slots=True)
class Delays:
    """From arrival to answer, of the requests that were served."""

    num_served: int
    mean_s: float
    p50_s: float
    p90_s: float
    p99_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class Group:
    """Requests that have something in common."""

    name: str
    num_requests: int
    delays: Delays


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one way to serve made of a recording."""

    policy: str
    fates: dict[str, int]
    """Requests by what became of them."""
    num_runs: int
    sequences_per_run: float
    padding_share: float
    """Of the tokens run."""
    overhead_share: float
    """Time of runs over what their tokens alone cost: padding, and the fixed cost of runs."""
    utilisation: float
    """Busy time of all threads, from the first arrival to the last answer."""
    delays: Delays
    jain_index: float
    """Of the speed that served requests had, as a share of being alone: 1 when it is the same for
    all, 1/n when one of n has it all (Jain et al. 1984, DEC-TR-301)."""
    by_length: list[Group]
    """Quarters of the requests, shortest first."""
    by_priority: list[Group]


FATES: tuple[Fate, ...] = ("served", "expired", "queue_full", "predicted_late", "too_large")


def outcome(played: Played, service: Service) -> Outcome:
    """Return the figures of one replay."""
    jobs, runs, cost = played.jobs, played.runs, service.cost
    lengths = [[item.size for item in run.batch] for run in runs]
    tokens = sum(map(sum, lengths))
    padded_tokens = sum(run.plan.padded_tokens for run in runs)
    busy_s = sum(run.busy_s for run in runs)
    needed_s = sum(_bare_s(cost, one) for one in lengths)
    first_s = min(job.arrival.arrived_s for job in jobs)
    span_s = max([job.ended_s for job in jobs] + [run.ended_s for run in runs]) - first_s
    served = [job for job in jobs if job.fate == "served"]
    return Outcome(
        policy=service.name,
        fates={fate: sum(job.fate == fate for job in jobs) for fate in FATES},
        num_runs=len(runs),
        sequences_per_run=_ratio(sum(map(len, lengths)), len(runs)),
        padding_share=1 - _ratio(tokens, padded_tokens) if runs else 0.0,
        overhead_share=_ratio(sum(run.cost_s for run in runs), needed_s) - 1 if runs else 0.0,
        utilisation=_ratio(busy_s, span_s * service.num_threads),
        delays=delays(served),
        jain_index=_jain_index(
            conventional_s(cost, job.arrival.lengths, service.budget) / job.delay_s
            for job in served
        ),
        by_length=_by_length(jobs),
        by_priority=[
            _group(f"priority {level}", [job for job in jobs if job.arrival.priority == level])
            for level in sorted({job.arrival.priority for job in jobs})
        ],
    )


def delays(served: Sequence[Job]) -> Delays:
    """Return the delays of requests, all 0 for none."""
    ordered = sorted(job.delay_s for job in served)

    def percentile(percent: int) -> float:
        """Nearest rank: the least delay that so many per cent do not exceed."""
        return ordered[ceil(len(ordered) * percent / 100) - 1] if ordered else 0.0

    mean_s = _ratio(sum(ordered), len(ordered))
    return Delays(len(ordered), mean_s, *map(percentile, (50, 90, 99, 100)))


def _by_length(jobs: Sequence[Job]) -> list[Group]:
    """Divide requests by their tokens; those with equal ones stay together."""
    ordered = sorted(sum(job.arrival.lengths) for job in jobs)
    groups = []
    low = 0
    for quarter in range(1, 5):
        high = ordered[ceil(len(ordered) * quarter / 4) - 1]
        if high > low:
            inside = [job for job in jobs if low < sum(job.arrival.lengths) <= high]
            groups.append(_group(f"{low + 1} to {high} tokens", inside))
            low = high
    return groups


def _group(name: str, jobs: Sequence[Job]) -> Group:
    return Group(name, len(jobs), delays([job for job in jobs if job.fate == "served"]))


def _bare_s(cost: Cost, lengths: Sequence[int]) -> float:
    """Return what sequences cost beside runs and rows, which no layout can save."""
    return cost.alone(lengths) - len(lengths) * (cost.run_s + cost.row_s)


def _jain_index(shares: Iterable[float]) -> float:
    values = [*shares]
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
