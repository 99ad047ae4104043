"""Figures say what they can claim, and how many points they have is bounded."""

import re

import numpy as np
import pytest

from loadtest.analysis.figures import Bound, Latency, Slice
from loadtest.record.row import Column
from loadtest.report.plot import curve, percentiles, stages, style, telemetry, time
from loadtest.report.plot.percentiles import Line
from loadtest.telemetry.samples import GpuSample, HostSample, ProcessSample, Telemetry

SPAN = time.Span(2.0, 12.0)
NEEDED = {"p50": 7, "p90": 44, "p95": 90, "p99": 459, "p999": 4603}


def labels(svg: str) -> list[str]:
    return re.findall(r">([^<>]+)</text>", svg)


def line(count: int) -> Line:
    values: Column = np.random.default_rng(1).integers(1_000_000, 9_000_000, count)
    return Line("all", values, style.ONE)


@pytest.mark.parametrize(
    ("count", "last"),
    [(7, "50"), (44, "90"), (458, "95"), (459, "99"), (4_603, "99.9"), (46_050, "99.99")],
)
def test_percentiles_have_ticks_only_where_samples_suffice(count: int, last: str) -> None:
    svg = percentiles.overlay([line(count)], "Latency")

    assert svg is not None
    known = [label for label in labels(svg) if label in {"50", "90", "95", "99", "99.9", "99.99"}]
    assert known[-1] == last


def test_too_few_calls_for_a_median_have_no_figure() -> None:
    assert percentiles.overlay([line(6)], "Latency") is None


def test_figure_of_a_million_calls_is_as_small_as_of_a_thousand() -> None:
    small, large = (percentiles.overlay([line(n)], "Latency") for n in (1_000, 1_000_000))

    assert small is not None
    assert large is not None
    assert len(large) < 1.5 * len(small)


def test_equal_latencies_and_latencies_of_nothing_are_drawn() -> None:
    equal = Line("equal", np.full(100, 2_000_000), style.ONE)
    none = Line("none", np.zeros(100, np.int64), style.TWO)

    assert percentiles.overlay([equal, none], "Latency") is not None


@pytest.mark.parametrize(("holds", "colour"), [(True, "--good"), (False, "--bad")])
def test_bound_is_marked_by_whether_it_holds(holds: bool, colour: str) -> None:  # noqa: FBT001
    bound = Bound(percentile=99.0, bound=5000.0, samples=1000, over=1, allowed_over=2, holds=holds)

    svg = percentiles.overlay([line(1000)], "Latency", bound)

    assert svg is not None
    assert f"var({colour})" in svg
    assert "bound p99" in labels(svg)


def slices(**means: float) -> tuple[Slice, ...]:
    return tuple(Slice(p, sum(means.values()), 10, means) for p in (50.0, 99.0, 99.9))


def test_stages_are_named_in_the_bars_that_have_room() -> None:
    svg = stages.shares(slices(lag=1.0, network=9.0, tokenize=0.0, queue=60.0, run=30.0, rest=0.0))

    assert labels(svg).count("queue") == 1 + 3
    assert labels(svg).count("lag") == 1
    assert [name for name in labels(svg) if name[0] == "p"] == ["p50", "p99", "p99.9"]


def test_stages_of_no_time_are_drawn() -> None:
    nothing = slices(lag=0.0, network=0.0, tokenize=0.0, queue=0.0, run=0.0, rest=0.0)

    assert stages.times(nothing)
    assert stages.shares(nothing)


def latency(p50: float | None, p99: float | None) -> Latency:
    return Latency(
        samples=500,
        mean=p50,
        p50=p50,
        p90=p50,
        p95=p50,
        p99=p99,
        p999=None,
        max=p99,
        needed=NEEDED,
        upper={"p95": None, "p99": None, "p999": None},
    )


def test_curve_draws_the_highest_percentile_that_most_points_claim() -> None:
    points = [curve.Point(str(i), 100.0 * i, latency(900.0 * i, 5000.0)) for i in (1, 2, 3)]
    thin = [curve.Point(str(i), 100.0 * i, latency(900.0 * i, None)) for i in (1, 2, 3)]

    assert "p99" in labels(curve.curve(points, "Curve") or "")
    assert "p95" in labels(curve.curve(thin, "Curve") or "")


def test_curve_needs_two_points() -> None:
    point = curve.Point("one", 100.0, latency(900.0, 5000.0))
    empty = curve.Point("none", 0.0, latency(None, None))

    assert curve.curve([point, empty], "Curve") is None


def test_labels_of_a_crowd_do_not_cover_each_other() -> None:
    points = [curve.Point(f"{200 + i}/s", 200.0 + i, latency(900.0, 5000.0)) for i in range(40)]

    svg = curve.curve(points, "Curve")

    assert svg is not None
    assert 1 <= len([label for label in labels(svg) if label.endswith("/s")]) < 20


def looks(count: int, per_s: float) -> tuple[ProcessSample, ...]:
    return tuple(
        ProcessSample(12.0 * i / count, per_s * 12 * i / count, 1 << 20, None, None, None)
        for i in range(count)
    )


def test_hours_of_samples_are_thinned() -> None:
    few = telemetry.cores(Telemetry(server=looks(200, 0.5)), SPAN)
    many = telemetry.cores(Telemetry(server=looks(20_000, 0.5)), SPAN)

    assert few is not None
    assert many is not None
    assert len(many) < 1.2 * len(few)


def test_counter_that_begins_anew_is_a_gap() -> None:
    before, after = looks(10, 0.5), looks(10, 0.5)
    restarted = (*before, *(ProcessSample(12 + one.at_s, *_rest(one)) for one in after))

    at_s, rates = telemetry._rate(restarted, lambda one: one.cpu_s)  # noqa: SLF001  the gap cannot be read from the text

    assert len(at_s) == 19
    assert np.isnan(rates).sum() == 1
    assert np.nanmax(rates) == pytest.approx(0.5)


def _rest(one: ProcessSample) -> tuple[float, int, None, None, None]:
    return one.cpu_s, one.rss_bytes, None, None, None


def test_nothing_sampled_is_no_figure() -> None:
    nothing = Telemetry(host=(HostSample(1.0, 0.5, None),))

    assert telemetry.memory(nothing, SPAN) is None
    assert telemetry.switches(nothing, SPAN) is None
    assert telemetry.frequency(nothing, SPAN) is None
    assert telemetry.gpus(nothing, SPAN) == []
    assert telemetry.cores(nothing, SPAN) is not None


def test_eight_accelerators_all_look_different() -> None:
    samples = tuple(
        GpuSample(float(at), gpu, 50.0, 1 << 30, None, None) for gpu in range(8) for at in range(12)
    )

    figures = dict(telemetry.gpus(Telemetry(gpus=samples), SPAN))

    assert list(figures) == ["GPU utilisation", "GPU memory"]
    strokes = re.findall(
        r"(?:dasharray: ([\d.,]+); [^;]+; )?stroke: (var\(--\w+\)); stroke-width: 1.5",
        figures["GPU memory"],
    )
    # Each line, and the same in the legend.
    assert len(strokes) == 16
    assert len(set(strokes)) == 8
