"""What one run says about its rate. Pure: a verdict and a bound in, one word out."""

from typing import Final

from loadtest.analysis.figures import Bound, Verdict
from loadtest.search.peak import Outcome

# Broken by a server that has more to do than it can.
_OVERLOAD: Final = frozenset({"errors", "keeps-up", "steady"})
# Broken by a run that is short for what it met.
_SHORT: Final = frozenset({"duration", "samples"})


def judge(verdict: Verdict, bound: Bound | None, *, was_stopped_full: bool) -> Outcome:
    """Return whether the rate holds its bound, as far as the run can tell.

    A late generator excuses everything else: what it sends late it sends in bursts, and calls that
    it did not get round to are missing from what was completed. `was_stopped_full` says that the
    run was stopped because too many calls were in flight, which is overload and no disturbance.
    """
    broken = {reason.rule for reason in verdict.reasons}
    if "lag" in broken:
        return "late"
    if was_stopped_full or broken & _OVERLOAD:
        return "unclear" if "restarts" in broken else "fails"
    if bound is None or broken - _SHORT:
        return "unclear"
    if not bound.holds and bound.allowed_over is not None:
        # Too short for its latencies, perhaps, but they are over the bound.
        return "fails"
    return "unclear" if broken else "holds"
