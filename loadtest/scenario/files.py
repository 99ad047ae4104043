"""Scenarios by name or path, with the command line's values on top and every file read.

`load` returns a scenario that needs nothing more from this machine: lengths and recorded arrivals
are in it, so that it can travel to workers elsewhere.
"""

import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from loadtest.scenario.explain import explain
from loadtest.scenario.lengths import FromFile, Listed
from loadtest.scenario.requests import Request, Rpc
from loadtest.scenario.schema import AnyScenario, BadScenario, Closed, Offline, Open, Replay
from loadtest.scenario.size import check
from loadtest.scenario.trace import read_arrivals, read_lengths


class Overrides(msgspec.Struct, frozen=True, kw_only=True):
    """Values from the command line; None leaves the scenario's own."""

    rate: float | None = None
    in_flight: int | None = None
    calls: int | None = None
    duration_s: float | None = None
    warmup_s: float | None = None
    seed: int | None = None
    deadline_s: float | None = None
    percentile: float | None = None
    bound_ms: float | None = None
    connections: int | None = None
    # Relative to the working directory.
    trace: str | None = None
    # Of the scenario's only kind of request.
    rpc: Rpc | None = None
    # Of every kind of request.
    texts_per_call: int | None = None

    def given(self) -> dict[str, Any]:
        """Return only what was passed."""
        values: dict[str, Any] = msgspec.structs.asdict(self)
        return {name: value for name, value in values.items() if value is not None}


_OF_REQUESTS: Final = ("rpc", "texts_per_call")
# What each kind of load is called in a sentence, and the options that say how much of it.
_KINDS: Final[Mapping[type, tuple[str, str]]] = {
    Closed: ("a closed loop", "--in-flight and --duration"),
    Open: ("an open loop", "--rate and --duration"),
    Offline: ("all calls at once", "--calls and --in-flight"),
    Replay: ("a recording", "--trace"),
}


def packaged() -> list[str]:
    """Return the names of the scenarios that come with the package."""
    folder = resources.files("loadtest") / "scenarios"
    names = [entry.name for entry in folder.iterdir() if entry.name.endswith(".toml")]
    return sorted(name.removesuffix(".toml") for name in names)


def load(name: str, overrides: Overrides) -> AnyScenario:
    """Return a packaged scenario, or one from a path ending in .toml, ready to run.

    Raises:
        BadScenario: it does not exist, does not fit the schema or the options, or a file that it
            names cannot be read.
    """
    scenario = resolve(_override(name, read(name), overrides), _folder(name))
    check(scenario)
    return scenario


def read(name: str) -> AnyScenario:
    """Return a scenario as it is written: its files unread, a replay perhaps without any.

    Raises:
        BadScenario: it does not exist, or does not fit the schema.
    """
    return parse(_text(name), name)


def parse(text: str, name: str) -> AnyScenario:
    """Return the scenario that TOML text describes.

    Raises:
        BadScenario: it does not fit the schema; the text names the field and what is allowed.
    """
    try:
        data = msgspec.toml.decode(text)
    except msgspec.DecodeError as error:
        raise BadScenario(f"scenario {name} is not TOML: {error}") from error
    return _checked(data, f"scenario {name}")


def resolve(scenario: AnyScenario, folder: Path) -> AnyScenario:
    """Return the scenario with its trace and its lists of lengths read; paths relative to a folder.

    Raises:
        BadScenario: a file cannot be read, or a line of it does not fit.
    """
    requests = tuple(_with_lengths(request, folder) for request in scenario.requests)
    scenario = msgspec.structs.replace(scenario, requests=requests)
    if not isinstance(scenario, Replay):
        return scenario
    if scenario.recorded:
        recorded = tuple(sorted(scenario.recorded, key=lambda arrival: arrival.at_s))
        return msgspec.structs.replace(scenario, recorded=recorded)
    if not scenario.trace:
        raise BadScenario(
            "a replay needs a recording: give --trace FILE, written by"
            " heed-serve --record-arrivals FILE, or CSV lines at_s,tokens"
        )
    return msgspec.structs.replace(scenario, recorded=read_arrivals(folder / scenario.trace))


def _with_lengths(request: Request, folder: Path) -> Request:
    if not isinstance(request.lengths, FromFile):
        return request
    return msgspec.structs.replace(
        request, lengths=Listed(read_lengths(folder / request.lengths.path))
    )


def _folder(name: str) -> Path:
    """Return what the paths in a scenario are relative to; a packaged one has none."""
    return Path(name).parent if name.endswith(".toml") else Path()


def _text(name: str) -> str:
    if name.endswith(".toml"):
        try:
            return Path(name).read_text(encoding="utf-8")
        except OSError as error:
            raise BadScenario(f"scenario file {name}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise BadScenario(f"scenario file {name}: not a text file ({error.reason})") from error
    known = packaged()
    if name not in known:
        raise BadScenario(
            f"no scenario called {name}; known are {', '.join(known)}, or give a path to a .toml"
        )
    return (resources.files("loadtest") / "scenarios" / f"{name}.toml").read_text(encoding="utf-8")


def _checked(data: object, what: str) -> AnyScenario:
    for path, number in _numbers("", data):
        if not math.isfinite(number):
            raise BadScenario(f"{what}: {path}: {number} is not a finite number")
    try:
        # mypy takes a union given as a value for any object.
        return cast("AnyScenario", msgspec.convert(data, type=AnyScenario))
    except msgspec.ValidationError as error:
        raise BadScenario(f"{what}: {explain(error, data)}") from error


def _numbers(path: str, data: object) -> list[tuple[str, float]]:
    """Return every number in nested values with its place."""
    if isinstance(data, dict):
        inner = [(f"{path}.{key}" if path else str(key), item) for key, item in data.items()]
    elif isinstance(data, list | tuple):
        inner = [(f"{path}[{place}]", item) for place, item in enumerate(data)]
    else:
        return [(path, data)] if isinstance(data, float) else []
    return [found for place, item in inner for found in _numbers(place, item)]


def _override(name: str, scenario: AnyScenario, overrides: Overrides) -> AnyScenario:
    given = overrides.given()
    if not given:
        return scenario
    for field in given:
        _refuse_foreign(name, scenario, field)
    # Through the schema once more, so that an option obeys the same bounds as the file.
    merged = cast("dict[str, Any]", msgspec.to_builtins(scenario))
    requests = {field: given.pop(field) for field in _OF_REQUESTS if field in given}
    merged["requests"] = [{**request, **requests} for request in merged["requests"]]
    if "trace" in given and _folder(name) != Path():
        # Relative to the working directory, not to the scenario's.
        given["trace"] = str(Path(given["trace"]).absolute())
    return _checked({**merged, **given}, f"scenario {name} with the given options")


def _refuse_foreign(name: str, scenario: AnyScenario, field: str) -> None:
    option = option_of(field)
    if field == "rpc" and len(scenario.requests) > 1:
        raise BadScenario(
            f"scenario {name} mixes {len(scenario.requests)} kinds of calls, so {option} fits none"
        )
    if isinstance(scenario, Open) and scenario.phases and field in {"rate", "duration_s"}:
        raise BadScenario(
            f"scenario {name} has phases that say their rates and how long they last;"
            f" {option} fits one with a single rate: server, constant"
        )
    if field in _OF_REQUESTS or field in scenario.__struct_fields__:
        return
    kind, fitting = _KINDS[type(scenario)]
    raise BadScenario(f"scenario {name} runs {kind} and takes no {option}; it takes {fitting}")


def option_of(field: str) -> str:
    """Return the command-line option that sets a field of a scenario."""
    return "--" + field.removesuffix("_s").replace("_", "-")
