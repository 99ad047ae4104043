"""Round latencies for Locust's statistics, which count equal values. Pure."""

import numpy as np
import numpy.typing as npt

_US_PER_MS = 1e3


def three_digits(latency_ms: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the values with three significant digits, none finer than 1 us or below 0.

    Every result is one division of a whole number, so that equal values are the same key in every
    process.
    """
    us = np.maximum(np.round(latency_ms * _US_PER_MS), 0)
    digits = np.floor(np.log10(np.maximum(us, 1)))
    step = 10.0 ** np.maximum(digits - 2, 0)
    return np.asarray(np.round(us / step) * step / _US_PER_MS)
