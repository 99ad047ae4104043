"""The scenario as TOML and the command that runs it again."""

import json
import shlex
from typing import Any, Final, cast

import msgspec

from loadtest.report.model import Report
from loadtest.scenario.files import Overrides, load, option_of, packaged, read
from loadtest.scenario.lengths import FromFile, Listed
from loadtest.scenario.schema import AnyScenario, BadScenario, Replay

# Where a list of lengths was. Its file is not known any more.
_LISTED: Final = FromFile("(lengths that were read from a file)")
# A longer command is broken into lines.
_WIDTH: Final = 72


def stripped(scenario: AnyScenario) -> AnyScenario:
    """Return the scenario without the arrivals of a recording and the lengths of a file."""
    requests = tuple(
        msgspec.structs.replace(one, lengths=_LISTED) if isinstance(one.lengths, Listed) else one
        for one in scenario.requests
    )
    scenario = msgspec.structs.replace(scenario, requests=requests)
    if isinstance(scenario, Replay):
        return msgspec.structs.replace(scenario, recorded=())
    return scenario


def toml(scenario: AnyScenario) -> str:
    """Return the scenario as a file that `heed-load run` takes, every default written out."""
    data = _builtins(scenario)
    return "".join(f"{key} = {_lines(value)}\n" for key, value in data.items() if _is_given(value))


def _builtins(scenario: AnyScenario) -> dict[str, Any]:
    return cast("dict[str, Any]", msgspec.to_builtins(scenario))


def _is_given(value: object) -> bool:
    return value is not None and value not in ("", (), [], {})


def _lines(value: object) -> str:
    """Return a value; a list of tables gets one line for each."""
    if isinstance(value, tuple | list) and isinstance(value[0], dict):
        return "[\n" + "".join(f"  {_value(item)},\n" for item in value) + "]"
    return _value(value)


def _value(value: object) -> str:
    if isinstance(value, dict):
        items = cast("dict[str, object]", value).items()
        parts = [f"{_key(key)} = {_value(item)}" for key, item in items if _is_given(item)]
        return f"{{ {', '.join(parts)} }}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # TOML's basic strings are JSON's, but for DEL.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def _key(key: str) -> str:
    is_bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if is_bare else _value(key)


def command(report: Report) -> str:
    """Return the command that repeats the run.

    A packaged scenario with options where those say it all; else the scenario is in a file, as
    `toml` gives it.
    """
    name, *options = _by_name(report) or [(f"{report.name}.toml",)]
    parts = [("heed-load", "run", *name), *options]
    parts += [("--target", report.target), ("--model", report.model)]
    if len(report.workers) > 1:
        parts.append(("--workers", str(len(report.workers))))
    words = [shlex.join(part) for part in parts]
    line = " ".join(words)
    return line if len(line) <= _WIDTH else " \\\n  ".join(words)


def _by_name(report: Report) -> list[tuple[str, ...]] | None:
    """Return a packaged scenario's name and the options that make it this one, if there are any."""
    if report.name not in packaged():
        return None
    written = _builtins(read(report.name))
    wanted = _builtins(report.scenario)
    for values in (written, wanted):
        # The options of every kind of call: those of the first stand for them.
        values.update({name: values["requests"][0][name] for name in ("rpc", "texts_per_call")})
    fields = [name for name in Overrides.__struct_fields__ if wanted.get(name) is not None]
    given = {name: wanted[name] for name in fields if wanted[name] != written.get(name)}
    try:
        again = load(report.name, Overrides(**given))
    except BadScenario:
        return None
    if stripped(again) != report.scenario:
        return None
    options = [(option_of(name), _argument(value)) for name, value in given.items()]
    return [(report.name,), *options]


def _argument(value: object) -> str:
    is_whole = isinstance(value, float) and value.is_integer()
    return f"{value:.0f}" if is_whole else str(value)
