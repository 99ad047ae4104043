"""The server's own account of a call, from its answer or from the `server-timing` trailer.

The trailer has the form that HTTP gives to it (W3C Server Timing): durations in milliseconds. What
it does not name, or names in another way, is MISSING.
"""

import re
from collections.abc import Sequence
from typing import Final

from loadtest.record.row import MISSING
from loadtest.workload.payload import Outcome
from protos.heed.v1 import text_pb2

TRAILER: Final = "server-timing"

# What a row of the record holds; a server that says more is not to be believed.
_MOST_NS: Final = (1 << 63) - 1
_MOST: Final = (1 << 31) - 1
_DIGITS: Final = 10

# A metric, or behind a semicolon one of its parameters.
_PART: Final = re.compile(r'([;,]?)\s*([^\s;,="]+)\s*(?:=\s*("[^"]*"|[^\s;,"]*))?')


def from_message(timings: text_pb2.Timings, tokens: int) -> Outcome:
    """Return the account that an answer carries."""
    return Outcome(
        0,
        min(tokens, _MOST),
        _within(timings.tokenize_ns, _MOST_NS),
        _within(timings.queue_ns, _MOST_NS),
        _within(timings.run_ns, _MOST_NS),
        _within(timings.total_ns, _MOST_NS),
        _within(timings.batch_sequences, _MOST),
        _within(timings.batch_tokens, _MOST),
    )


def without(tokens: int = 0) -> Outcome:
    """Return that there is none."""
    return Outcome(0, min(tokens, _MOST))


def from_trailer(trailing: Sequence[tuple[str, str]]) -> Outcome:
    """Return the account that trailing metadata carries, if any."""
    value = next((value for key, value in trailing if key == TRAILER), None)
    if value is None:
        return without()
    stages: dict[str, int] = {}
    sizes: dict[str, int] = {}
    metric = ""
    for separator, name, given in _PART.findall(value):
        if separator != ";":
            metric = name
        elif name == "dur":
            stages[metric] = _nanoseconds(given)
        elif name == "desc" and metric == "batch":
            sizes = _sizes(given)
    return Outcome(
        0,
        0,
        # Tensors bring their tokens with them: nothing was tokenized unless the server says so.
        stages.get("tokenize", 0 if "total" in stages else MISSING),
        stages.get("queue", MISSING),
        stages.get("run", MISSING),
        stages.get("total", MISSING),
        sizes.get("sequences", MISSING),
        sizes.get("tokens", MISSING),
    )


def _nanoseconds(milliseconds: str) -> int:
    """Return MISSING for what is no number or below 0."""
    try:
        found = float(milliseconds.strip('"')) * 1e6
    except ValueError:
        return MISSING
    # Neither holds for NaN.
    return round(found) if 0 <= found < _MOST_NS else MISSING


def _sizes(described: str) -> dict[str, int]:
    """Return the whole numbers of a text such as `sequences=3 tokens=40`."""
    parts = (part.partition("=") for part in described.strip('"').split())
    return {
        name: _within(int(number), _MOST)
        for name, _, number in parts
        if number.isdecimal() and len(number) <= _DIGITS
    }


def _within(value: int, most: int) -> int:
    return value if value <= most else MISSING
