import pytest
from load_rows import S, calls, row

from loadtest.analysis.figures import TelemetryFigures
from loadtest.analysis.telemetry import figures
from loadtest.analysis.window import Window
from loadtest.telemetry.samples import GpuSample, HostSample, ProcessSample, Telemetry

WINDOW = Window(S, 4 * S)
MIB = 1 << 20


def process(*looks: tuple[float, float, int]) -> tuple[ProcessSample, ...]:
    return tuple(
        ProcessSample(at_s, cpu_s, mib * MIB, int(10 * cpu_s), None, 3)
        for at_s, cpu_s, mib in looks
    )


def test_a_process_is_seen_between_its_first_and_last_look() -> None:
    looks = process((0, 0, 9), (1, 5, 10), (2, 6, 30), (3, 7, 20), (5, 70, 90))
    # Three of these end between the looks at 1 s and at 3 s.
    rows = calls(row(900, 10), *[row(at, 10) for at in (1000, 2000, 2900, 3500)])

    found = figures(Telemetry(server=looks), rows, WINDOW).server

    assert found is not None
    assert found.cores == pytest.approx(1)
    assert found.cpu_ms_per_call == pytest.approx(2000 / 3)
    assert (found.rss_first_bytes, found.rss_last_bytes, found.rss_most_bytes) == (
        10 * MIB, 20 * MIB, 30 * MIB
    )  # fmt: skip
    assert found.voluntary_switches_per_s == pytest.approx(10)
    assert found.involuntary_switches_per_s is None


def test_a_counter_that_begins_anew_is_not_negative() -> None:
    looks = process((1, 5, 1), (2, 6, 1), (3, 0.5, 1), (4, 1.5, 1))

    found = figures(Telemetry(generator=looks), calls(), WINDOW).generator

    assert found is not None
    assert found.cores == pytest.approx(2 / 3)
    assert found.cpu_ms_per_call == 0


def test_machines_and_accelerators_are_means_over_the_measured_time() -> None:
    telemetry = Telemetry(
        host=(HostSample(0, 9, 1), HostSample(2, 1, 2000), HostSample(3, 2, 3000)),
        gpus=(
            GpuSample(0, 0, 100, 1, None, None),
            GpuSample(2, 0, 20, 1, None, None),
            GpuSample(3, 0, 40, 1, None, None),
            GpuSample(3, 1, 50, 1, None, None),
        ),
    )

    found = figures(telemetry, calls(), WINDOW)

    assert (found.host_busy_cores, found.mhz_mean, found.mhz_lowest) == (1.5, 2500, 2000)
    assert found.gpu_utilisation_mean == {0: 30, 1: 50}


def test_what_was_not_sampled_has_no_figures() -> None:
    telemetry = Telemetry(server=process((2, 1, 1)), host=(HostSample(2, 1, None),))

    assert figures(telemetry, calls(), WINDOW) == TelemetryFigures(
        generator=None,
        server=None,
        host_busy_cores=1,
        mhz_mean=None,
        mhz_lowest=None,
        gpu_utilisation_mean={},
    )
