"""The numbers of a run again, for each stretch of an open loop. Pure."""

import numpy as np

from loadtest.analysis.figures import PhaseFigures
from loadtest.analysis.summary import in_flight, latency, throughput
from loadtest.analysis.window import NS_PER_S, Window
from loadtest.record.calls import Calls
from loadtest.record.histogram import Histogram
from loadtest.scenario.schema import AnyScenario, Open, Phase


def phases(calls: Calls, scenario: AnyScenario, window: Window) -> tuple[PhaseFigures, ...]:
    """Return the figures of every stretch that began; none when the run is a single stretch.

    Latency and errors are those of the calls due in a stretch, whenever they ended; throughput
    counts what ended in it.
    """
    stretches = scenario.stretches if isinstance(scenario, Open) else ()
    if len(stretches) <= 1:
        return ()
    lasts_ns = [round(stretch.for_s * NS_PER_S) for stretch in stretches]
    edges_ns = np.minimum(window.start_ns + np.cumsum([0, *lasts_ns]), window.end_ns).tolist()
    return tuple(
        _figures(number, stretch, calls, Window(edges_ns[number], edges_ns[number + 1]))
        for number, stretch in enumerate(stretches)
        if edges_ns[number] < edges_ns[number + 1]
    )


def _figures(number: int, stretch: Phase, calls: Calls, window: Window) -> PhaseFigures:
    due = calls.where(calls.rows["phase"] == number)
    answered = due.answered
    return PhaseFigures(
        name=stretch.name or str(number + 1),
        from_s=window.start_ns / NS_PER_S,
        to_s=window.end_ns / NS_PER_S,
        throughput=throughput(calls, window),
        latency_us=latency(Histogram.of_ns(answered.latency_ns)),
        errors=len(due) - len(answered),
        in_flight=in_flight(calls, window.start_ns, window.end_ns),
    )
