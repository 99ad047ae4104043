"""The runs of a search: one after the other by the same processes, each with its own report."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from loadtest.fabric.outcome import Finished, Plan
from loadtest.fabric.run import Fabric
from loadtest.report.build import build
from loadtest.report.model import Report
from loadtest.report.repeat import stripped
from loadtest.report.write import write
from loadtest.scenario.schema import AnyScenario, Open, Replay
from loadtest.scenario.size import check
from loadtest.search.model import Run, Subject

Say = Callable[[str], None]


class Runs:
    """Does runs of one plan's target and model into folders of their own."""

    def __init__(self, fabric: Fabric, plan: Plan, folder: Path, say: Say) -> None:
        self.plan = plan
        self.folder = folder
        self.say = say
        self._fabric = fabric
        self._first: Report | None = None

    def run(self, folder: str, scenario: AnyScenario) -> tuple[Report, Finished]:
        """Do one run and write its report into that folder of the search's.

        Raises:
            RunFailed: it could not be done.
            BadScenario: it would be larger than a run can be.
        """
        check(scenario)
        finished = self._fabric.run(replace(self.plan, scenario=scenario))
        report = build(finished)
        write(report, finished.calls, self.folder / folder)
        self._first = self._first or report
        return report, finished

    def subject(self) -> Subject:
        """Return what was loaded; there must have been a run."""
        assert self._first is not None
        return Subject(
            name=self.plan.name,
            scenario=stripped(self.plan.scenario),
            target=self.plan.target,
            model=self.plan.model,
            started_at=self._first.started_at,
            versions=self._first.versions,
            machine=self._first.machine,
        )


def was_stopped_full(finished: Finished) -> bool:
    """Return whether the run was ended by its limit of calls in flight."""
    scenario = finished.plan.scenario
    if not isinstance(scenario, Open | Replay) or not finished.disturbances:
        return False
    # Every worker has its part of the limit, and the first to reach it ends the run.
    limit = -(-scenario.max_in_flight // max(len(finished.shares), 1))
    return any(share.most_in_flight >= limit for share in finished.shares)


def summary(report: Report, folder: str) -> Run:
    """Return what a search keeps of a run."""
    quarters = report.in_flight_quarters
    calls = sum(report.codes.values())
    return Run(
        folder=folder,
        seed=report.scenario.seed,
        started_at=report.started_at,
        measured_s=report.measured_s,
        valid=report.verdict.valid,
        reasons=report.verdict.reasons,
        offered_per_s=report.throughput.offered_per_s,
        answered_per_s=report.throughput.requests_per_s,
        latency_us=report.latency_us.from_schedule,
        errors=calls - report.codes.get("OK", 0),
        in_flight=sum(quarters) / len(quarters),
        lag_p99_us=report.lag_us.p99,
    )
