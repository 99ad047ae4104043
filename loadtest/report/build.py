"""Turn what a run brought back into its report, by asking `analysis` for every part of it.

A percentile without enough samples is left out here, wherever in the report it would stand: a
number in a file is believed.
"""

import os
import platform
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import psutil

from loadtest.analysis import evidence, summary
from loadtest.analysis.bound import bound
from loadtest.analysis.breakdown import breakdown
from loadtest.analysis.confidence import minimum_samples
from loadtest.analysis.figures import Breakdown, Series, Stage
from loadtest.analysis.phases import phases
from loadtest.analysis.requests import requests
from loadtest.analysis.series import series
from loadtest.analysis.telemetry import figures
from loadtest.analysis.verdict import judge
from loadtest.analysis.window import Window
from loadtest.fabric.outcome import Finished, WorkerShare
from loadtest.record.calls import Calls
from loadtest.record.codes import code_name
from loadtest.record.histogram import Histogram
from loadtest.record.row import Column
from loadtest.report.model import Lateness, Report, Worker
from loadtest.report.repeat import stripped
from loadtest.scenario.schema import AnyScenario

_PACKAGES: Final = ("heed", "locust", "gevent", "grpcio", "protobuf", "numpy")
_NS_PER_S: Final = 1e9
_US_PER_S: Final = 1e6


def build(finished: Finished) -> Report:
    """Work out everything that a run says."""
    plan, calls = finished.plan, finished.calls
    scenario = plan.scenario
    window = Window.of(scenario, finished.measured_from_ns, finished.end_ns)
    due = window.due(calls)
    restarts = finished.telemetry.server_restarts if finished.telemetry.server_source else None
    loads = evidence.workers(calls, finished.shares, finished.end_ns)
    circumstances = evidence.Circumstances(
        disturbances=finished.disturbances, restarts=restarts, workers=loads
    )
    return Report(
        name=plan.name,
        scenario=stripped(scenario),
        target=plan.target,
        model=plan.model,
        started_at=datetime.fromtimestamp(finished.began_s, UTC).isoformat(),
        measured_s=window.span_s,
        versions=_versions(),
        machine=_machine(),
        workers=tuple(map(_worker, finished.shares, loads, _sent_by(due, finished.shares))),
        verdict=judge(evidence.evidence(calls, scenario, window, circumstances)),
        bound=bound(due, scenario),
        latency_us=summary.clocks(due, scenario.requests),
        throughput=summary.throughput(calls, window),
        codes=_codes(due),
        errors=finished.errors,
        lag_us=_lateness(calls, scenario, window),
        phases=phases(calls, scenario, window),
        requests=requests(due, scenario.requests, plan.model),
        breakdown=_claimed_stages(breakdown(due)),
        in_flight_quarters=summary.in_flight_quarters(calls, window),
        histogram_us=Histogram.of_ns(due.answered.latency_ns).buckets(),
        series=_claimed_slices(series(calls, scenario, finished.end_ns), calls, scenario),
        telemetry=figures(finished.telemetry, calls, window),
        samples=finished.telemetry,
    )


def _codes(due: Calls) -> dict[str, int]:
    counted = Counter(due.rows["code"].tolist()).most_common()
    return {code_name(code): many for code, many in counted}


def _sent_by(due: Calls, shares: Sequence[WorkerShare]) -> list[int]:
    """Return how many of the measured calls each worker sent."""
    return [int((due.rows["worker"] == share.worker).sum()) for share in shares]


def _worker(share: WorkerShare, load: evidence.WorkerLoad, measured: int) -> Worker:
    return Worker(
        worker=share.worker,
        host=share.host,
        connections=share.connections,
        channel_options=share.channel_options,
        payloads=share.payloads,
        calls=load.calls,
        calls_per_s=load.calls_per_s,
        cpu_cores=load.cores,
        cpu_us_per_call=share.cpu_s * _US_PER_S / load.calls if load.calls else 0.0,
        lag_p99_us=_claimed(99, measured, load.lag_p99_us),
        most_in_flight=share.most_in_flight,
        is_realtime=share.is_realtime,
        clock_error_us=load.clock_error_us,
    )


def _lateness(calls: Calls, scenario: AnyScenario, window: Window) -> Lateness:
    found = summary.lag(calls, scenario, window)
    at_ns, _ = summary.lateness(calls, scenario)
    samples = int(window.holds(at_ns).sum())
    return Lateness(
        of=found.of,
        samples=samples,
        p50=_claimed(50, samples, found.p50),
        p99=_claimed(99, samples, found.p99),
        max=found.max if samples else None,
    )


def _claimed(percentile: float, samples: int, value: float | None) -> float | None:
    return value if samples >= minimum_samples(percentile) else None


def _claimed_stages(found: Breakdown | None) -> Breakdown | None:
    if found is None:
        return None
    stages = {
        name: Stage(
            mean=stage.mean,
            p50=_claimed(50, found.timed, stage.p50),
            p95=_claimed(95, found.timed, stage.p95),
            p99=_claimed(99, found.timed, stage.p99),
        )
        for name, stage in found.stages.items()
    }
    return msgspec.structs.replace(found, stages=stages)


def _claimed_slices(found: Series, calls: Calls, scenario: AnyScenario) -> Series:
    """Return the series without the percentiles of slices that have too few calls for them."""
    answered = _per_slice(found, calls.answered.column("scheduled_ns"))
    looks = _per_slice(found, summary.lateness(calls, scenario)[0])

    def kept(percentile: float, line: list[float | None], samples: list[int]) -> list[float | None]:
        pairs = zip(samples, line, strict=True)
        return [_claimed(percentile, many, value) for many, value in pairs]

    return msgspec.structs.replace(
        found,
        p50_us=kept(50, found.p50_us, answered),
        p95_us=kept(95, found.p95_us, answered),
        lag_p50_us=kept(50, found.lag_p50_us, looks),
    )


def _per_slice(found: Series, at_ns: Column) -> list[int]:
    edges_ns = np.array([*found.start_s, found.start_s[-1] + found.width_s]) * _NS_PER_S
    counts: list[int] = np.diff(np.searchsorted(np.sort(at_ns), np.round(edges_ns))).tolist()
    return counts


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            # Run from a checkout: the code is there, the distribution is not.
            versions[package] = "not installed"
    return versions


def _machine() -> dict[str, str]:
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / (1 << 30):.1f} GiB",
    }


def _processor() -> str:
    """Return the processor's name where Linux knows it, its architecture otherwise."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({platform.machine()})" if names else platform.machine()
