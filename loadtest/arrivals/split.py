"""Which calls of a schedule each sending process takes.

Process w of n takes the calls whose place leaves w when divided by n. Every process works out
the whole schedule from the seed and keeps its part, so the union of the parts is the schedule
itself, instant by instant: it does not resemble the intended process, it is the intended process,
for any number of workers, through every ramp and spike. (Giving each worker a Poisson process of
its own at 1/n of the rate would have the right law, but another schedule for every n.) One part
alone is not Poisson: its gaps are sums of n exponential ones. No server sees one part alone.
"""

import numpy as np
import numpy.typing as npt


def part(count: int, worker: int, workers: int) -> npt.NDArray[np.int64]:
    """Return the places, in a schedule of `count` calls, of what one worker sends."""
    if not 0 <= worker < workers:
        raise ValueError(f"worker {worker} of {workers}")
    return np.arange(worker, count, workers, dtype=np.int64)
