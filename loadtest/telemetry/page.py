"""What a server's Prometheus page says about its process. Parses text; fetches nothing.

The names are those of every official Prometheus client; the one of heed counts workers that were
started again by their parent. A page may describe several processes, told apart by labels.
"""

import math
from collections.abc import Hashable
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

CPU = "process_cpu_seconds_total"
RSS = "process_resident_memory_bytes"
STARTED = "process_start_time_seconds"
RESTARTED = "heed_worker_restarts_total"
_NAMES = (CPU, RSS, STARTED, RESTARTED)
# Start times are computed from a boot time and whole ticks; a restart moves them by more.
_START_TOLERANCE_S = 0.5


@dataclass(frozen=True)
class Page:
    """Values by the labels of their process."""

    values: dict[str, dict[Hashable, float]] = field(default_factory=dict)

    def of(self, name: str) -> dict[Hashable, float]:
        """Return one metric of every process; empty where the page has none."""
        return self.values.get(name, {})

    def lives(self, name: str) -> dict[Hashable, float]:
        """Return a counter with keys that change when a process begins anew."""
        started = self.of(STARTED)
        return {(key, round(started.get(key, 0))): value for key, value in self.of(name).items()}


def parse(text: str) -> Page:
    """Return the wanted values. A heed page has hundreds of lines and these are few of them."""
    wanted = "".join(f"{line}\n" for line in text.splitlines() if line.startswith(_NAMES))
    values: dict[str, dict[Hashable, float]] = {}
    for family in text_string_to_metric_families(wanted):
        for sample in family.samples:
            if math.isfinite(sample.value):
                key = tuple(sorted(sample.labels.items()))
                values.setdefault(sample.name, {})[key] = sample.value
    return Page(values)


def restarts(before: Page, now: Page) -> int:
    """Return how many processes began anew between two pages.

    By start time, or by what a parent of workers counted: a worker may have gone twice.
    """
    began = sum(
        1
        for key, started in now.of(STARTED).items()
        if started > before.of(STARTED).get(key, started) + _START_TOLERANCE_S
    )
    counted = sum(
        max(0.0, count - before.of(RESTARTED).get(key, count))
        for key, count in now.of(RESTARTED).items()
    )
    return max(began, round(counted))
