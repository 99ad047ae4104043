"""Where a throughput-latency curve bends, and where throughput stops growing. Pure.

The knee is the point of greatest power, throughput over mean latency (Giessler and others, 1978;
Kleinrock, Power and deterministic rules of thumb for probabilistic problems in computer
communications, 1979): where a ray from the origin touches the curve of latency over throughput.
Below it more load buys throughput at little cost in latency, above it mostly queueing. It needs
no normalisation and no smoothing, so two sweeps over different ranges agree on it, and it is
exact for few points: one of the measured ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# Throughput that grows by less than this, in all that comes after, no longer grows.
GROWTH: Final = 0.05


@dataclass(frozen=True)
class Spot:
    """One point of the curve."""

    level: float
    # Answered calls per second.
    throughput: float
    # Mean from the scheduled instant; None when nothing was answered.
    latency_us: float | None


def knee(spots: Sequence[Spot]) -> float | None:
    """Return the level of greatest power, the lowest of equals; None without any point."""
    powers = [(spot.throughput / spot.latency_us, -spot.level) for spot in spots if spot.latency_us]
    return -max(powers)[1] if powers else None


def saturation(spots: Sequence[Spot]) -> float | None:
    """Return the lowest level from which throughput no longer grows.

    None when even the last level adds to it: the sweep ended too early to see.
    """
    ordered = sorted(spots, key=lambda spot: spot.level)
    if not ordered:
        return None
    most = max(spot.throughput for spot in ordered)
    first = next(spot for spot in ordered if spot.throughput * (1 + GROWTH) >= most)
    return first.level if first is not ordered[-1] else None
