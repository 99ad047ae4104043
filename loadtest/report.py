"""The result of a run as one value, and its three files.

`report.json` is that value, `report.html` the same for people, `calls.npz` every call behind it.
Measures nothing: everything comes from the session's record.
"""

import os
import platform
from collections import Counter
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path

import jinja2
import msgspec
import numpy as np

from loadtest import plot, summary, verdict
from loadtest.client import CHANNEL_OPTIONS, code_name
from loadtest.histogram import Histogram
from loadtest.record import Calls, Column, Recording
from loadtest.scenario import Closed, Open
from loadtest.series import Series, series

SCHEMA_VERSION = 1
_PACKAGES = ("heed", "locust", "gevent", "grpcio", "protobuf", "numpy")


class Clocks(msgspec.Struct, frozen=True):
    """The same calls by two clocks: from the scheduled instant, and from the send."""

    from_schedule: summary.Latency
    from_send: summary.Latency


class Generator(msgspec.Struct, frozen=True):
    """What produced the load, for whoever repeats the run."""

    connections: int
    channel_options: dict[str, int]
    payloads: int
    # Process CPU over elapsed time; above 1 when gRPC's own threads work beside the loop.
    cpu: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a run found."""

    schema_version: int = SCHEMA_VERSION
    name: str
    scenario: Closed | Open
    target: str
    model: str
    started_at: str
    measured_s: float
    versions: dict[str, str]
    machine: dict[str, str]
    generator: Generator
    verdict: verdict.Verdict
    latency_us: Clocks
    throughput: summary.Throughput
    codes: dict[str, int]
    lag_us: summary.Lag
    in_flight_quarters: tuple[float, float, float, float]
    stages_us: dict[str, summary.Stage]
    # Latency from schedule: lower edge, width, count.
    histogram_us: list[tuple[int, int, int]]
    series: Series


@dataclass(frozen=True)
class Circumstances:
    """What the record does not know about its run."""

    name: str
    scenario: Closed | Open
    target: str
    model: str
    started_at: str
    end_ns: int
    payloads: int
    cpu: float
    disturbances: tuple[str, ...]


def build(recording: Recording, run: Circumstances) -> Report:
    """Work out everything that the record of a run says."""
    everything = recording.calls()
    warmup_ns = min(round(run.scenario.warmup_s * 1e9), run.end_ns)
    window = summary.Window(warmup_ns, run.end_ns)
    measured = everything.where(window.holds(everything.scheduled_ns))
    answered = measured.where(measured.code == 0)
    late_at_ns, late_ns = _lateness(run.scenario, everything, recording)
    lag = summary.lag(
        "sends" if isinstance(run.scenario, Open) else "timers",
        late_ns[window.holds(late_at_ns)],
    )
    from_schedule = Histogram.of_ns(answered.latency_ns)
    quarters = summary.in_flight_quarters(everything, window)
    evidence = verdict.Evidence(
        kind="open" if isinstance(run.scenario, Open) else "closed",
        percentile=run.scenario.percentile,
        samples=len(answered),
        errors=len(measured) - len(answered),
        max_error_rate=run.scenario.max_error_rate,
        p99_us=from_schedule.percentile(99) if from_schedule.count else 0.0,
        lag_p99_us=lag.p99,
        offered=len(measured),
        completed=int(window.holds(everything.done_ns).sum()),
        in_flight_quarters=quarters,
        disturbances=run.disturbances,
    )
    return Report(
        name=run.name,
        scenario=run.scenario,
        target=run.target,
        model=run.model,
        started_at=run.started_at,
        measured_s=(window.end_ns - window.start_ns) / 1e9,
        versions=_versions(),
        machine=_machine(),
        generator=_generator(run),
        verdict=verdict.judge(evidence),
        latency_us=Clocks(
            summary.latency(from_schedule),
            summary.latency(Histogram.of_ns(answered.send_latency_ns)),
        ),
        throughput=summary.throughput(everything, window),
        codes=dict(Counter(code_name(code) for code in measured.code.tolist()).most_common()),
        lag_us=lag,
        in_flight_quarters=quarters,
        stages_us=summary.stages(answered),
        histogram_us=from_schedule.buckets(),
        series=series(everything, late_at_ns, late_ns, run.end_ns),
    )


def write(report: Report, recording: Recording, folder: Path) -> Path:
    """Write the three files into the folder and return the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    recording.save(folder / "calls.npz")
    (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    page = folder / "report.html"
    page.write_text(html(report, recording.calls()), encoding="utf-8")
    return page


def html(report: Report, calls: Calls) -> str:
    """Return the page: one file, no script, nothing loaded from anywhere."""
    template = (resources.files("loadtest") / "report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["duration"] = duration
    warmup_ns = round(report.scenario.warmup_s * 1e9)
    answered = calls.where((calls.code == 0) & (calls.scheduled_ns >= warmup_ns))
    figures = {
        "percentiles": plot.percentiles(answered) if len(answered) else None,
        "stages": plot.stages(report.stages_us) if report.stages_us else None,
        "latency": plot.latency(report.series, report.scenario.warmup_s),
        "throughput": plot.throughput(report.series, report.scenario.warmup_s),
        "in_flight": plot.in_flight(report.series, report.scenario.warmup_s),
        "lag": plot.lag(report.series, report.scenario.warmup_s),
    }
    return environment.from_string(template).render(report=report, figures=figures)


def duration(value_us: float | None) -> str:
    """Return a duration in the unit that a person would choose, three digits."""
    if value_us is None:
        return "–"  # noqa: RUF001  an en dash is what a table shows for nothing
    if value_us < 1000:  # noqa: PLR2004  us per ms
        return f"{value_us:.0f} µs"
    value_ms = value_us / 1000
    if value_ms < 1000:  # noqa: PLR2004  ms per s
        return f"{value_ms:.3g} ms"
    return f"{value_ms / 1000:.3g} s"


def _lateness(scenario: Closed | Open, calls: Calls, recording: Recording) -> tuple[Column, Column]:
    if isinstance(scenario, Open):
        return calls.scheduled_ns, np.maximum(calls.lag_ns, 0)
    return recording.probes()


def _generator(run: Circumstances) -> Generator:
    connections = run.scenario.channels if isinstance(run.scenario, Open) else run.scenario.users
    return Generator(connections, CHANNEL_OPTIONS, run.payloads, run.cpu)


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
        "processor": platform.machine(),
        "cores": str(os.cpu_count()),
    }
