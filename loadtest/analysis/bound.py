"""Whether a percentile is under a bound, as far as one run can show it. Pure."""

from loadtest.analysis.confidence import allowed_over
from loadtest.analysis.figures import Bound
from loadtest.record.calls import Calls
from loadtest.scenario.schema import AnyScenario

_NS_PER_MS = 1_000_000
_US_PER_MS = 1000


def bound(due: Calls, scenario: AnyScenario) -> Bound | None:
    """Test the scenario's bound on the calls that were due; None when it asks for none.

    A failed call counts as one over the bound: its caller had no answer in time.
    """
    if scenario.bound_ms is None:
        return None
    is_over = (due.latency_ns > scenario.bound_ms * _NS_PER_MS) | (due.rows["code"] != 0)
    over = int(is_over.sum())
    allowed = allowed_over(scenario.percentile, len(due))
    return Bound(
        percentile=scenario.percentile,
        bound=scenario.bound_ms * _US_PER_MS,
        samples=len(due),
        over=over,
        allowed_over=allowed,
        holds=allowed is not None and over <= allowed,
    )
