"""What theory says about queues, stalls and arrivals: the other side of the physics exam. Pure."""

import math

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]


def md1_mean_wait(load: float, service_s: float) -> float:
    """Return the mean time before service with Poisson arrivals and one constant server."""
    return load * service_s / (2 * (1 - load))


def md1_standard_error(load: float, service_s: float, seconds: float, runs: int = 400) -> float:
    """Return the relative standard error of the mean wait over a run of so many seconds.

    Waits of neighbours are alike, so the root of their number says little, and the formulas for
    heavy traffic are a third too small at these loads: found from many simulated runs.
    """
    rng = np.random.default_rng(0)
    scale_ns = service_s * 1e9 / load
    means = []
    for _ in range(runs):
        gaps = rng.exponential(scale_ns, round(seconds * 1e9 / scale_ns))
        means.append(waits_ns(np.cumsum(gaps).astype(np.int64), round(service_s * 1e9)).mean())
    return float(np.std(means) / np.mean(means))


def waits_ns(arrivals_ns: Column, service_ns: int) -> Column:
    """Return how long each of these arrivals waits for one constant server: Lindley's recursion.

    Written as a running maximum: the departure of customer n is the latest, over all k up to n, of
    arrival k plus n - k + 1 services.
    """
    services = np.arange(len(arrivals_ns), dtype=np.int64) * service_ns
    return np.maximum.accumulate(arrivals_ns - services) + services - arrivals_ns


def stalled_quantile_s(quantile: float, run_s: float, stall_s: float, service_s: float) -> float:
    """Return a quantile of latency when a server that is otherwise constant stalls once.

    Arrivals are even over `run_s`; every call takes `service_s` by itself, alongside the others.
    The server stops at 0 and goes on at F = stall_s. A call that arrives at u is answered after

        F - u        for u in [-s, 0): its service would have ended during the stall
        F - u + s    for u in [0, F): it is taken up at F and then served
        s            for all others

    so for s <= x <= F the calls above x arrived in [-s, 0) or in [0, F + s - x), and
    P(latency > x) = (F + 2 s - x) / T. The quantile q is where that is 1 - q. Beyond F it would
    be another line; the quantiles of the exam are below it.
    """
    above_s = (1 - quantile) * run_s
    if above_s >= stall_s + service_s:
        return service_s
    if above_s < 2 * service_s:
        raise ValueError("this quantile lies among the calls that were in service at the stop")
    return stall_s + 2 * service_s - above_s


def exponential_distance(gaps: Numbers, mean: float) -> float:
    """Return Kolmogorov's D between the gaps and an exponential distribution of that mean."""
    steps = np.arange(len(gaps) + 1) / len(gaps)
    expected = -np.expm1(-np.sort(gaps) / mean)
    return float(max((steps[1:] - expected).max(), (expected - steps[:-1]).max()))


def kolmogorov_p(distance: float, count: int) -> float:
    """Return the chance of a D at least so large, with Stephens's correction for a finite count."""
    root = math.sqrt(count)
    scaled = (root + 0.12 + 0.11 / root) * distance
    if scaled < 0.2:  # the series does not converge there, and the chance is 1 to 12 digits
        return 1.0
    terms = [math.exp(-2 * (k * scaled) ** 2) for k in range(1, 101)]
    return min(1.0, max(0.0, 2 * (sum(terms[::2]) - sum(terms[1::2]))))


def dispersion(instants_ns: Column, from_ns: int, to_ns: int, windows: int) -> float:
    """Return variance over mean of the counts in equal windows; 1 for a Poisson process."""
    counts = np.histogram(instants_ns, np.linspace(from_ns, to_ns, windows + 1))[0]
    return float(np.var(counts, ddof=1)) / float(np.mean(counts))
