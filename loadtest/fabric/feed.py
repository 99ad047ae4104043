"""Tell Locust's statistics of calls, so that its page and its tables are alive. Keeps no rows.

Whole batches are added the way Locust's master adds its workers' reports, by `StatsEntry.extend`:
22 us of CPU a call become 0.9 in batches of a hundred (measured).
"""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

import locust.stats
import numpy as np
import numpy.typing as npt
from locust.stats import RequestStats, StatsEntry

from loadtest.fabric.rounding import three_digits
from loadtest.record.codes import code_name
from loadtest.record.row import Rows
from loadtest.scenario.requests import Request

METHOD: Final = "gRPC"
_NS_PER_MS = 1e6


class CallFailed(Exception):
    """A call ended with another code than OK. Told to Locust, never raised."""


def names(requests: Sequence[Request], model: str) -> tuple[str, ...]:
    """Return what each kind of call is called on Locust's page."""
    return tuple(f"{request.rpc} {request.model or model}" for request in requests)


def feed(stats: RequestStats, rows: Rows, kinds: Sequence[str]) -> None:
    """Add calls that have just ended. Latencies count from the scheduled instant."""
    latency_ms = (rows["done_ns"] - rows["scheduled_ns"]) / _NS_PER_MS
    for kind in np.unique(rows["request"]).tolist():
        mine = rows["request"] == kind
        entry = _entry(stats, kinds[kind], latency_ms[mine], rows["response_bytes"][mine])
        stats.entries[(kinds[kind], METHOD)].extend(entry)
        stats.total.extend(entry)
        failed = Counter(rows["code"][mine & (rows["code"] != 0)].tolist())
        for code, count in failed.items():
            error = CallFailed(code_name(code))
            for _ in range(count):
                stats.log_error(METHOD, kinds[kind], error)


def _entry(
    stats: RequestStats,
    name: str,
    latency_ms: npt.NDArray[np.float64],
    response_bytes: npt.NDArray[np.int32],
) -> StatsEntry:
    """Return the statistics of a batch of one kind, at the time of now."""
    now_s = time.time()
    values, counts = np.unique(three_digits(latency_ms), return_counts=True)
    entry = StatsEntry(stats, name, METHOD)
    entry.start_time = entry.last_request_timestamp = now_s
    entry.num_requests = len(latency_ms)
    entry.num_reqs_per_sec = {int(now_s): len(latency_ms)}
    entry.total_response_time = float(latency_ms.sum())  # type: ignore[assignment]  # Locust declares int
    entry.min_response_time = float(latency_ms.min())  # type: ignore[assignment]
    entry.max_response_time = float(latency_ms.max())  # type: ignore[assignment]
    entry.total_content_length = int(response_bytes.sum())
    entry.response_times = dict(zip(values.tolist(), counts.tolist(), strict=True))
    return entry


def _bucket(latency_ms: float) -> float:
    return float(three_digits(np.array([latency_ms]))[0])


# For whatever else asks Locust to round; its own rounding is to whole milliseconds, more than most
# calls take here.
locust.stats.bucket_response_time = _bucket  # type: ignore[assignment]
