"""The page of a run: one file, no script, nothing loaded from anywhere.

`environment` is for the other pages too; they extend `base.html.j2` and take what they need from
`parts.html.j2`.
"""

import functools

import jinja2
import numpy as np

from loadtest.record.calls import Calls
from loadtest.report import repeat, tables, text, words
from loadtest.report.model import Report
from loadtest.report.plot import curve, percentiles, stages, telemetry, time


@functools.cache
def environment() -> jinja2.Environment:
    """Return where the templates are, everything escaped but what is marked safe."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("loadtest.report", package_path=""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def html(report: Report, calls: Calls) -> str:
    """Return the page; some figures are drawn from single calls."""
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            bound=text.bound(report.bound) if report.bound else "",
            held=text.held(report.verdict),
            started=text.started(report),
            tiles=_tiles(report),
            tables=_tables(report),
            figures=_figures(report, calls.answered),
            command=repeat.command(report),
            scenario=repeat.toml(report.scenario),
        )
    )


def _tiles(report: Report) -> list[tuple[str, str]]:
    latency, flow = report.latency_us.from_schedule, report.throughput
    return [
        ("requests/s", words.rate(flow.requests_per_s)),
        ("texts/s", words.rate(flow.texts_per_s)),
        *((label, words.claim(latency, name)) for name, label in text.headline(latency)),
        ("errors", text.errors(report)),
        ("generator lag p99", words.tail(report.lag_us.p99, 99)),
    ]


def _tables(report: Report) -> dict[str, tables.Table]:
    found = {
        "latency": tables.latency(report),
        "flow": tables.flow(report),
        "phases": tables.phases(report),
        "requests": tables.requests(report),
        "workers": tables.workers(report),
        "answers": tables.answers(report),
        "errors": tables.errors(report),
        "processes": tables.processes(report),
        "machine": tables.machine(report),
    }
    if report.breakdown is None:
        return found
    parts = {"stages": tables.stages(report.breakdown), "slices": tables.slices(report.breakdown)}
    return {**found, **parts}


def _figures(report: Report, answered: Calls) -> dict[str, object]:
    span, measured = _span(report), answered.measured
    series, samples = report.series, report.samples
    slices = report.breakdown.slices if report.breakdown else ()
    looks = [
        ("Cores in use", telemetry.cores(samples, span)),
        ("Memory", telemetry.memory(samples, span)),
        ("Context switches", telemetry.switches(samples, span)),
        ("Clock frequency", telemetry.frequency(samples, span)),
        *telemetry.gpus(samples, span),
    ]
    return {
        "percentiles": percentiles.percentiles(measured, _streamed(report, measured), report.bound),
        "curve": curve.of_phases(report.phases),
        "times": stages.times(slices) if slices else None,
        "shares": stages.shares(slices) if slices else None,
        "latency": time.latency(series, span, answered),
        "throughput": time.throughput(series, span),
        "in_flight": time.in_flight(series, span),
        "lag": time.lag(series, span),
        "telemetry": [(title, drawn) for title, drawn in looks if drawn is not None],
    }


def _streamed(report: Report, measured: Calls) -> Calls:
    requests = report.scenario.requests
    streams = [place for place, one in enumerate(requests) if one.rpc.endswith("-stream")]
    return measured.where(np.isin(measured.rows["request"], streams))


def _span(report: Report) -> time.Span:
    starts, width_s = report.series.start_s, report.series.width_s
    end_s = starts[-1] + width_s if starts else report.scenario.warmup_s + report.measured_s
    return time.Span(report.scenario.warmup_s, end_s, report.phases)
