"""Which rate to try next, on the way to the highest one that holds a latency bound.

Pure: what was tried goes in, the next trial or the end comes out; it runs nothing and knows no
clock. Widen by doubling until one rate holds and one does not, bisect between them, then confirm:
the found rate must hold again in several runs with seeds of their own, because a rate that was
chosen for having held once was perhaps only lucky. One that does not is stepped down from.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

HIGHEST: Final = 1_000_000.0
"""Calls/s above which no rate is looked for."""
LATE_RUNS: Final = 3
"""Runs at one rate whose generator was late, one after the other, that end a search."""

Stage = Literal["widen", "bisect", "confirm"]
# `late`: the generator did not keep its schedule, so the run says nothing about the server.
Outcome = Literal["holds", "fails", "late", "unclear"]

# `highest`: the highest rate that was to be looked at holds. `too-long`: said by whoever runs.
Ended = Literal["found", "highest", "none", "unconfirmed", "generator", "unclear", "too-long"]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How to search. Rates in calls per second."""

    start: float
    # Stop bisecting when the rates on both sides are within this share of each other.
    width: float = 0.05
    # Runs with new seeds that the found rate must hold in, all of them.
    confirmations: int = 3
    # Rates, each `width` lower than the last, that may fail to be confirmed.
    steps_down: int = 5
    # Neither looked for above nor below.
    highest: float = HIGHEST
    lowest: float = 0.01


@dataclass(frozen=True)
class Trial:
    """A rate to try, and why."""

    stage: Stage
    rate: float


@dataclass(frozen=True)
class Tried:
    """A trial and how it ended."""

    stage: Stage
    rate: float
    outcome: Outcome


@dataclass(frozen=True)
class End:
    """Why the search is over. `rate` is confirmed when it was found, else where it got stuck."""

    reason: Ended
    rate: float


def decide(tried: Sequence[Tried], rules: Rules) -> Trial | End:
    """Return what to try next, or the end."""
    if tried and tried[-1].outcome == "unclear":
        return End("unclear", tried[-1].rate)
    if tried and tried[-1].outcome == "late":
        return _again(tried)
    searched = [each for each in tried if each.stage != "confirm"]
    held = [each.rate for each in searched if each.outcome == "holds"]
    failed = [each.rate for each in searched if each.outcome == "fails"]
    if not held or not failed:
        wider = _widen(held, failed, rules)
        if wider is not None:
            return wider
    elif min(failed) > max(held) * (1 + rules.width):
        return Trial("bisect", math.sqrt(max(held) * min(failed)))
    return _confirm(max(held), tried, rules, is_highest=not failed)


def _again(tried: Sequence[Tried]) -> Trial | End:
    """One late run may be this machine's hiccup; three of the same are the generator's limit."""
    last = tried[-1]
    if len(tried) >= LATE_RUNS and all(each.outcome == "late" for each in tried[-LATE_RUNS:]):
        return End("generator", last.rate)
    return Trial(last.stage, last.rate)


def _widen(held: list[float], failed: list[float], rules: Rules) -> Trial | End | None:
    """Return a rate beyond all others; None when the highest of all has held."""
    if held:
        if max(held) >= rules.highest:
            return None
        return Trial("widen", min(max(held) * 2, rules.highest))
    if failed:
        if min(failed) <= rules.lowest:
            return End("none", min(failed))
        return Trial("widen", max(min(failed) / 2, rules.lowest))
    return Trial("widen", min(max(rules.start, rules.lowest), rules.highest))


def _confirm(
    found: float, tried: Sequence[Tried], rules: Rules, *, is_highest: bool
) -> Trial | End:
    rate, confirmed, steps = found, 0, 0
    for each in tried:
        if each.stage != "confirm" or each.outcome == "late":
            continue
        if each.outcome == "holds":
            confirmed += 1
            continue
        rate, confirmed, steps = rate / (1 + rules.width), 0, steps + 1
        if steps > rules.steps_down or rate < rules.lowest:
            return End("unconfirmed", rate * (1 + rules.width))
    if confirmed >= rules.confirmations:
        return End("highest" if is_highest and steps == 0 else "found", rate)
    return Trial("confirm", rate)
