"""What the sampling of a run showed, over its measured time. Pure."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from loadtest.analysis.figures import ProcessFigures, TelemetryFigures
from loadtest.analysis.window import NS_PER_S, Window
from loadtest.record.calls import Calls
from loadtest.telemetry.samples import GpuSample, HostSample, ProcessSample, Telemetry

Sample = TypeVar("Sample", ProcessSample, HostSample, GpuSample)


def figures(telemetry: Telemetry, calls: Calls, window: Window) -> TelemetryFigures:
    """Return the figures; None where the measured time has too few samples for one."""
    host = _inside(telemetry.host, window)
    mhz = [sample.mhz for sample in host if sample.mhz is not None]
    gpus = _inside(telemetry.gpus, window)
    done_s = calls.column("done_ns") / NS_PER_S
    return TelemetryFigures(
        generator=_process(_inside(telemetry.generator, window), done_s),
        server=_process(_inside(telemetry.server, window), done_s),
        host_busy_cores=_mean([sample.busy_cores for sample in host]),
        mhz_mean=_mean(mhz),
        mhz_lowest=min(mhz, default=None),
        gpu_utilisation_mean={
            gpu: float(np.mean([sample.utilisation for sample in gpus if sample.gpu == gpu]))
            for gpu in sorted({sample.gpu for sample in gpus})
        },
    )


def _inside(samples: Sequence[Sample], window: Window) -> list[Sample]:
    start_s, end_s = window.start_ns / NS_PER_S, window.end_ns / NS_PER_S
    return [sample for sample in samples if start_s <= sample.at_s <= end_s]


def _process(
    samples: list[ProcessSample], done_s: np.typing.NDArray[np.float64]
) -> ProcessFigures | None:
    """Return a process between its first and its last look; both ends are needed."""
    if len(samples) <= 1 or samples[-1].at_s <= samples[0].at_s:
        return None
    first, last = samples[0], samples[-1]
    span_s = last.at_s - first.at_s
    cpu_s = _gained([sample.cpu_s for sample in samples])
    calls = int(((done_s > first.at_s) & (done_s <= last.at_s)).sum())
    memory = [sample.rss_bytes for sample in samples]
    return ProcessFigures(
        cores=cpu_s / span_s,
        cpu_ms_per_call=cpu_s * 1000 / calls if calls else 0.0,
        rss_first_bytes=memory[0],
        rss_last_bytes=memory[-1],
        rss_most_bytes=max(memory),
        voluntary_switches_per_s=_per_s([one.voluntary_switches for one in samples], span_s),
        involuntary_switches_per_s=_per_s([one.involuntary_switches for one in samples], span_s),
    )


def _per_s(counted: list[int | None], span_s: float) -> float | None:
    known = [float(count) for count in counted if count is not None]
    return _gained(known) / span_s if len(known) == len(counted) else None


def _gained(counted: list[float]) -> float:
    """Return by how much a counter rose; one that begins anew (a restart) loses nothing."""
    return float(np.maximum(np.diff(counted), 0).sum())


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
