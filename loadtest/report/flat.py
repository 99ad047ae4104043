"""The report as one long table: section, name, value, unit. Follows `report.json` field by field.

Left out, as no table would be read for them: the histogram and the raw samples of telemetry.
"""

import csv
import io
from collections.abc import Iterator
from typing import Any, Final, cast

import msgspec

from loadtest.report.model import Report

HEAD: Final = ("section", "name", "value", "unit")
_LEFT_OUT: Final = frozenset({"histogram_us", "samples"})
_PERCENTILES: Final = frozenset({"p50", "p90", "p95", "p99", "p999"})
# By the end of a name, the longest first.
_SUFFIXES: Final = (
    ("_per_s", "1/s"),
    ("_ms_per_call", "ms"),
    ("_us_per_call", "us"),
    ("_bytes", "bytes"),
    ("_cores", "cores"),
    ("_rate", ""),
    ("_us", "us"),
    ("_ms", "ms"),
    ("_ns", "ns"),
    ("_s", "s"),
    ("cores", "cores"),
)
_NAMED: Final = {"mhz_mean": "MHz", "mhz_lowest": "MHz", "rate": "1/s", "to_rate": "1/s"}
# Counts and other plain numbers inside sections whose times are us.
_PLAIN: Final = frozenset(
    {"samples", "needed", "timed", "calls", "percentile", "over", "allowed_over", "errors", "texts"}
)
_SECTIONS_US: Final = frozenset({"latency_us", "lag_us", "breakdown", "bound"})
# What a spreadsheet would take for a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

Row = tuple[str, str, str, str]


def table(report: Report) -> str:
    """Return the rows as CSV with a head."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(HEAD)
    writer.writerows(rows(report))
    return buffer.getvalue()


def rows(report: Report) -> Iterator[Row]:
    """Return every fact of the report, a percentile without its samples as `n<459`."""
    data = cast("dict[str, Any]", msgspec.to_builtins(report, str_keys=True))
    for section, content in data.items():
        if section == "series":
            yield from _series(content)
        elif section not in _LEFT_OUT:
            for path, value in _leaves((), content, {}):
                yield section, _safe(".".join(path)), _text(value), _unit(section, path, value)


def _series(series: dict[str, Any]) -> Iterator[Row]:
    """Return a row for every line of the series and every slice, named by when it begins."""
    yield "series", "width_s", _text(series["width_s"]), "s"
    for name, line in series.items():
        if isinstance(line, list) and name != "start_s":
            for start_s, value in zip(series["start_s"], line, strict=True):
                unit = _unit("series", (name,), value)
                yield "series", f"{name} at {start_s:g} s", _text(value), unit


def _leaves(
    path: tuple[str, ...], value: object, needed: dict[str, int]
) -> Iterator[tuple[tuple[str, ...], object]]:
    """Return every plain value with its path; lists by their places."""
    if isinstance(value, dict):
        inner = cast("dict[str, object]", value)
        needed = cast("dict[str, int]", inner.get("needed", {}))
        for name, item in inner.items():
            yield from _leaves((*path, name), item, needed)
    elif isinstance(value, tuple | list):
        for place, item in enumerate(value):
            yield from _leaves((*path, str(place)), item, {})
    elif value is None and path and path[-1] in needed:
        yield path, f"n<{needed[path[-1]]}"
    else:
        yield path, value


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    # A number keeps its sign; everything else is kept from being a formula.
    return str(value) if isinstance(value, int | float) else _safe(str(value))


def _safe(content: str) -> str:
    return f"'{content}" if content.startswith(_FORMULA) else content


def _unit(section: str, path: tuple[str, ...], value: object) -> str:
    if value is None or isinstance(value, str | bool) or section in {"errors", "codes"}:
        return ""
    name = path[-1] if path else section
    if name in _PLAIN or "needed" in path:
        return "%" if name == "percentile" else ""
    if name in _NAMED:
        return _NAMED[name]
    if "gpu_utilisation_mean" in path:
        return "%"
    for suffix, unit in _SUFFIXES:
        if name.endswith(suffix):
            return unit
    is_time = section in _SECTIONS_US or any(part.endswith("_us") for part in path)
    return "us" if is_time else ""
