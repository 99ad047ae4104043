"""What the machine did meanwhile: cores, memory, context switches, frequency, accelerators."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from loadtest.report.plot import style, time
from loadtest.telemetry.samples import GpuSample, ProcessSample, Telemetry

_POINTS: Final = 200
_MIB: Final = 1 << 20
_COLOURS: Final = (style.ONE, style.TWO, style.FOUR, style.THREE)
_DASHES: Final = ("-", "--", "-.", ":")

Floats = npt.NDArray[np.float64]
Line = tuple[str, Floats, Floats]


def cores(samples: Telemetry, span: time.Span) -> str | None:
    """Draw the cores in use by the server, the generator and everybody on the host."""
    lines = [
        (name, *_rate(looks, lambda one: one.cpu_s)) for name, looks in _processes(samples).items()
    ]
    lines.append(
        ("host", *_mean([(one.at_s, one.busy_cores) for one in samples.host])),
    )
    return _figure(lines, span, "cores", "Cores in use over time")


def memory(samples: Telemetry, span: time.Span) -> str | None:
    """Draw resident memory."""
    lines = [
        (name, *_mean([(one.at_s, one.rss_bytes / _MIB) for one in looks]))
        for name, looks in _processes(samples).items()
    ]
    return _figure(lines, span, "MiB resident", "Memory over time")


def switches(samples: Telemetry, span: time.Span) -> str | None:
    """Draw context switches, those that a process asked for and those that it suffered."""
    lines = []
    for name, looks in _processes(samples).items():
        lines.append((f"{name}, waited", *_rate(looks, lambda one: one.voluntary_switches)))
        lines.append((f"{name}, preempted", *_rate(looks, lambda one: one.involuntary_switches)))
    return _figure(lines, span, "switches/s", "Context switches over time", columns=2)


def frequency(samples: Telemetry, span: time.Span) -> str | None:
    """Draw the mean clock frequency of the host's cores."""
    known = [(one.at_s, one.mhz / 1000) for one in samples.host if one.mhz is not None]
    return _figure([("host", *_mean(known))], span, "GHz", "Clock frequency over time")


def gpus(samples: Telemetry, span: time.Span) -> list[tuple[str, str]]:
    """Draw each accelerator figure that has data, with its heading."""
    kinds: tuple[tuple[str, str, Callable[[GpuSample], float | None]], ...] = (
        ("GPU utilisation", "% busy", lambda one: one.utilisation),
        ("GPU memory", "MiB", lambda one: one.memory_bytes / _MIB),
        ("GPU power", "W", lambda one: one.watts),
        ("GPU clock", "MHz", lambda one: one.sm_mhz),
    )
    numbers = sorted({one.gpu for one in samples.gpus})
    figures = []
    for heading, unit, value in kinds:
        lines = []
        for number in numbers:
            looks = [one for one in samples.gpus if one.gpu == number]
            known = [(one.at_s, seen) for one in looks if (seen := value(one)) is not None]
            lines.append((f"GPU {number}", *_mean(known)))
        drawn = _figure(lines, span, unit, f"{heading} over time")
        if drawn is not None:
            figures.append((heading, drawn))
    return figures


def _processes(samples: Telemetry) -> dict[str, Sequence[ProcessSample]]:
    return {"server": samples.server, "generator": samples.generator}


def _figure(
    lines: Sequence[Line], span: time.Span, unit: str, title: str, columns: int = 4
) -> str | None:
    """Draw what has data; None when nothing has."""
    known = [line for line in lines if np.isfinite(line[2]).any()]
    if not known:
        return None
    figure, axes = time.over_time(time.Span(span.warmup_s, span.end_s))
    for number, (name, at_s, values) in enumerate(known):
        colour = _COLOURS[number % len(_COLOURS)]
        # A colour that comes again has other dashes.
        dashes = _DASHES[(number + number // len(_COLOURS)) % len(_DASHES)]
        time.draw(axes, at_s, values, time.Look(colour, dashes, name))
    time.from_zero(axes)
    axes.set_ylabel(unit)
    style.legend(axes, columns=columns)
    return style.svg(figure, title)


def _rate(
    looks: Sequence[ProcessSample], counter: Callable[[ProcessSample], float | None]
) -> tuple[Floats, Floats]:
    """Return how fast a counter grew between looks; a gap where it fell, as after a restart."""
    known = [(one.at_s, value) for one in looks if (value := counter(one)) is not None]
    thinned = known[:: max(1, -(-len(known) // _POINTS))]
    table = np.array(thinned, np.float64).reshape(-1, 2)
    gaps, grown = np.diff(table[:, 0]), np.diff(table[:, 1])
    is_sane = (gaps > 0) & (grown >= 0)
    rates = np.where(is_sane, grown / np.where(gaps > 0, gaps, 1), np.nan)
    return table[1:, 0] - gaps / 2, rates


def _mean(looks: Sequence[tuple[float, float]]) -> tuple[Floats, Floats]:
    """Return the looks, neighbours averaged where there are too many for a figure."""
    table = np.array(looks, np.float64).reshape(-1, 2)
    parts = np.array_split(table, min(_POINTS, max(len(table), 1)))
    means = [part.mean(axis=0) for part in parts if len(part)]
    joined = np.array(means, np.float64).reshape(-1, 2)
    return joined[:, 0], joined[:, 1]
