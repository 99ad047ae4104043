"""Run both sides in turn, never at the same time, and keep what the statistics need."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from loadtest.analysis.figures import Verdict
from loadtest.compare.bootstrap import Side
from loadtest.compare.build import Ran
from loadtest.compare.order import Turn
from loadtest.compare.sample import Sample
from loadtest.fabric.outcome import Plan
from loadtest.fabric.run import Fabric
from loadtest.report.build import build
from loadtest.report.model import Report
from loadtest.report.write import write
from loadtest.scenario.schema import Closed
from loadtest.scenario.size import check

REPEATS: Final = 2
"""Times that an INVALID run is repeated."""
# Broken by the order and not by chance: the next attempt would break them as well.
_LASTING: Final = frozenset({"duration", "samples"})
_KNOCK_S: Final = 0.2

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Ring:
    """Where the runs are done and their files go."""

    fabric: Fabric
    folder: Path
    say: Say
    # Rules that a run may break; the trial of the method itself runs shorter than is VALID.
    waived: frozenset[str] = frozenset()
    writes_reports: bool = True


def fight(ring: Ring, sides: Mapping[Side, Plan], turns: Sequence[Turn]) -> list[Ran]:
    """Do every run in its turn; ends early when one stays INVALID.

    Raises:
        RunFailed: a run could not be done.
    """
    ran = []
    for place, turn in enumerate(turns):
        ring.say(f"run {place + 1} of {len(turns)}: {turn.side}, seed {turn.seed}")
        ran.append(_run(ring, sides[turn.side], turn, f"{place + 1:02d}-{turn.side}"))
        if not ran[-1].report.verdict.valid:
            break
    return ran


def knock(ring: Ring, plan: Plan) -> None:
    """Do a short run that counts for nothing.

    Raises:
        RunFailed: the server does not answer.
    """
    base = plan.scenario
    scenario = Closed(
        duration_s=_KNOCK_S, warmup_s=0, in_flight=1, requests=base.requests, seed=base.seed,
        deadline_s=base.deadline_s,
    )  # fmt: skip
    ring.fabric.run(replace(plan, name="knock", scenario=scenario))


def _run(ring: Ring, plan: Plan, turn: Turn, name: str) -> Ran:
    scenario = msgspec.structs.replace(plan.scenario, seed=turn.seed)
    check(scenario)
    for attempt in range(1, REPEATS + 2):
        finished = ring.fabric.run(replace(plan, scenario=scenario))
        report = _waive(build(finished), ring.waived)
        broken = {reason.rule for reason in report.verdict.reasons}
        if not broken or broken & _LASTING or attempt > REPEATS:
            break
        ring.say(f"  INVALID, again: {'; '.join(one.text for one in report.verdict.reasons)}")
    if ring.writes_reports:
        write(report, finished.calls, ring.folder / name)
    return Ran(
        pair=turn.pair,
        side=turn.side,
        folder=name,
        attempts=attempt,
        report=report,
        sample=Sample.of(finished.calls, report.measured_s),
    )


def _waive(report: Report, rules: frozenset[str]) -> Report:
    if not rules:
        return report
    verdict = report.verdict
    reasons = tuple(reason for reason in verdict.reasons if reason.rule not in rules)
    checked = tuple(rule for rule in verdict.checked if rule not in rules)
    kept = Verdict(not reasons, reasons, checked, verdict.warnings)
    return msgspec.structs.replace(report, verdict=kept)
