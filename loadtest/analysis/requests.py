"""The numbers of a run again, for each kind of call of its mix. Pure."""

from collections.abc import Sequence

from loadtest.analysis.figures import RequestFigures
from loadtest.analysis.summary import latency
from loadtest.record.calls import Calls
from loadtest.record.histogram import Histogram
from loadtest.scenario.requests import Request


def requests(due: Calls, mix: Sequence[Request], model: str) -> tuple[RequestFigures, ...]:
    """Return the figures of every kind, in the scenario's order; `model` is the run's own."""
    return tuple(_figures(due, number, request, model) for number, request in enumerate(mix))


def _figures(due: Calls, number: int, request: Request, model: str) -> RequestFigures:
    mine = due.where(due.rows["request"] == number)
    answered = mine.answered
    return RequestFigures(
        rpc=request.rpc,
        model=request.model or model,
        calls=len(mine),
        errors=len(mine) - len(answered),
        texts=int(answered.column("texts").sum()),
        latency_us=latency(Histogram.of_ns(answered.latency_ns)),
    )
