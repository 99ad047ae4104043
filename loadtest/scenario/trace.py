"""Recorded arrivals and lists of lengths, from files. Every error names the file and the line.

Two formats of arrivals are read. What `heed-serve --record-arrivals` writes: one JSON object a
line, the first `{"heed_arrivals": 1, "began": ...}`, then `{"t": seconds, "model": name,
"lengths": [tokens of each text], ...}`. And CSV: `at_s,tokens[,tokens...]`, a header if one likes.
Seconds count from any zero: the first arrival becomes second 0.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from loadtest.scenario.schema import Arrival, BadScenario
from loadtest.scenario.size import MAX_CALLS

FORMAT: Final = 1
"""Version of the server's recordings that is read here."""

T = TypeVar("T")
Tokens = Annotated[int, Meta(ge=1, le=1 << 20)]
Instant = Annotated[float, Meta(ge=-1e15, le=1e15)]


class _Beginning(msgspec.Struct, frozen=True):
    heed_arrivals: int


class _Line(msgspec.Struct, frozen=True):
    """What is read of a line; a server also writes priority and deadline."""

    t: Instant
    lengths: Annotated[tuple[Tokens, ...], Meta(min_length=1)]
    model: str = ""


_DECODE_BEGINNING: Final = msgspec.json.Decoder(_Beginning)
_DECODE_LINE: Final = msgspec.json.Decoder(_Line)


def read_arrivals(path: Path) -> tuple[Arrival, ...]:
    """Return the arrivals of a recording in order of time, the first at second 0.

    Raises:
        BadScenario: it cannot be read, a line is not of a recording, or there are too few.
    """
    lines = _lines(path, "trace")
    is_recording = bool(lines) and lines[0][1].startswith("{")
    if is_recording:
        _each(path, lines[:1], _check_beginning)
        found = _each(path, lines[1:], _recorded)
    else:
        has_header = bool(lines) and lines[0][1].lower().startswith("at_s")
        found = _each(path, lines[has_header:], _listed)
    found.sort(key=lambda line: line.t)
    if not found or found[0].t == found[-1].t:
        raise BadScenario(
            f"{path}: a replay needs at least two arrivals at different times,"
            f" there are {len(found)} arrivals"
        )
    zero = found[0].t
    return tuple(Arrival(line.t - zero, line.lengths, line.model) for line in found)


def read_lengths(path: Path) -> tuple[int, ...]:
    """Return the lengths of a file with one whole number a line; `#` begins a comment line.

    Raises:
        BadScenario: it cannot be read, or a line is not a length.
    """
    lengths = tuple(_each(path, _lines(path, "lengths"), _length))
    if not lengths:
        raise BadScenario(f"{path}: no lengths in it; write one whole number a line")
    return lengths


def _lines(path: Path, what: str) -> list[tuple[int, str]]:
    """Return the number and text of every line with something on it."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadScenario(f"{what} {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadScenario(f"{what} {path}: not a text file ({error.reason})") from error
    numbered = enumerate(map(str.strip, text.splitlines()), start=1)
    lines = [(number, line) for number, line in numbered if line and not line.startswith("#")]
    if len(lines) > MAX_CALLS:
        raise BadScenario(f"{what} {path}: {len(lines):,} lines; {MAX_CALLS:,} is the most")
    return lines


def _each(path: Path, lines: list[tuple[int, str]], read: Callable[[str], T]) -> list[T]:
    """Return what every line says."""
    number, found = 0, []
    try:
        for number, line in lines:  # noqa: B007  (for the message)
            found.append(read(line))
    except (ValueError, msgspec.MsgspecError) as error:
        raise BadScenario(f"{path}, line {number}: {error}") from error
    return found


def _check_beginning(line: str) -> None:
    version = _DECODE_BEGINNING.decode(line).heed_arrivals
    if version != FORMAT:
        raise ValueError(f"a recording in format {version}; this reads format {FORMAT}")


def _recorded(line: str) -> _Line:
    return _DECODE_LINE.decode(line)


def _listed(line: str) -> _Line:
    at, *tokens = (field.strip() for field in line.split(","))
    if not tokens:
        raise ValueError("a line is at_s,tokens[,tokens...]: seconds, then tokens of each text")
    fields = {"t": at, "lengths": tokens}
    return msgspec.convert(fields, _Line, strict=False)


def _length(line: str) -> int:
    return msgspec.convert(line, Tokens, strict=False)
