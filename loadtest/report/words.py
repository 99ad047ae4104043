"""Numbers as people read them. Every table and page takes its texts from here."""

import math
from typing import Final

from loadtest.analysis.confidence import minimum_samples
from loadtest.analysis.figures import Latency

NOTHING: Final = "–"  # noqa: RUF001  an en dash is what a table shows for nothing
LABELS: Final = {"p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99", "p999": "p99.9"}
"""Fields of `Latency` that are percentiles, and what they are called."""

_BYTES: Final = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
# Clocks tick in ns; a mean of so little is of calls that took nothing.
_LEAST_US: Final = 0.01
_TIMES: Final = ((1e6, "s"), (1e3, "ms"), (1.0, "µs"))


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many digits that count, never in powers of ten."""
    if value is None:
        return NOTHING
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, decimals)
    # 999.6 became 1000, which has a digit more before the point.
    decimals = digits - 1 - math.floor(math.log10(abs(rounded))) if rounded else 0
    return f"{rounded:,.{min(max(decimals, 0), 9)}f}"


def count(value: int | None) -> str:
    """Return a count with its thousands apart."""
    return NOTHING if value is None else f"{value:,}"


def rate(value: float | None) -> str:
    """Return something per second: three digits, four from a hundred on."""
    return number(value, 3 if value is None or abs(value) < 100 else 4)  # noqa: PLR2004


def duration(value_us: float | None) -> str:
    """Return a duration of us in the unit that a person would choose, three digits."""
    if value_us is None:
        return NOTHING
    for size_us, unit in _TIMES:
        # What would round to 1000 of a unit is 1 of the next.
        if abs(value_us) >= size_us * 0.9995:
            return f"{number(value_us / size_us)} {unit}"
    return f"{value_us:.2f} µs" if abs(value_us) >= _LEAST_US else "0 µs"


def size(value_bytes: float | None) -> str:
    """Return a size in binary units."""
    if value_bytes is None:
        return NOTHING
    for unit_bytes, unit in _BYTES:
        if abs(value_bytes) >= unit_bytes:
            return f"{number(value_bytes / unit_bytes)} {unit}"
    return f"{value_bytes:.0f} B"


def seconds(value_s: float) -> str:
    """Return seconds, three digits; less than a millisecond is none."""
    return f"{number(value_s)} s" if value_s >= 1e-3 else "0 s"  # noqa: PLR2004


def share(part: float, whole: float) -> str:
    """Return a part of a whole in %."""
    return NOTHING if whole == 0 else f"{number(100 * part / whole)} %"


def claim(latency: Latency, name: str) -> str:
    """Return a percentile, or how many samples it would need."""
    value: float | None = getattr(latency, name)
    return f"n<{latency.needed[name]}" if value is None else duration(value)


def tail(value: float | None, percentile: float) -> str:
    """Return a percentile of us, or how many samples it would need."""
    return f"n<{minimum_samples(percentile)}" if value is None else duration(value)


def plural(many: int, one: str, several: str = "") -> str:
    """Return a count with its noun."""
    return f"{count(many)} {one if many == 1 else several or one + 's'}"
