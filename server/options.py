"""Read the options: flags over environment over file over defaults, and every problem at once.

Knows the options only through their fields in `server.config`. Nothing is half understood: an
unknown name, a wrong type, a value out of range or two that contradict each other is refused.
"""

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from server import versions
from server.config import ENV_PREFIX, ServerConfig
from server.errors import ConfigInvalid

Flags = Mapping[str, str | bool]
OPTIONS = {option.name: option for option in fields(ServerConfig)}
FILE = "config"
"""The option that names the file, which the file itself cannot set."""

_KINDS: dict[object, str] = {int: "whole number", float: "number", bool: "boolean (true or false)"}


@dataclass(frozen=True, slots=True)
class Read:
    """What was read. Where a value was refused, the configuration has the default."""

    config: ServerConfig
    sources: Mapping[str, str]
    """Option -> where its value comes from; without an entry it is the default."""
    problems: tuple[str, ...]


def resolve(flags: Flags, environment: Mapping[str, str]) -> ServerConfig:
    """Return the configuration in force.

    Raises:
        ConfigInvalid: a line for each problem.
    """
    found = read(flags, environment)
    if found.problems:
        raise ConfigInvalid("\n".join(found.problems))
    return found.config


def read(flags: Flags, environment: Mapping[str, str]) -> Read:
    """Merge everything that sets an option, and collect everything that is wrong."""
    problems: list[str] = []
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    variables = {
        name.removeprefix(ENV_PREFIX).lower(): (name, text)
        for name, text in environment.items()
        if name.startswith(ENV_PREFIX)
    }
    path = str(flags.get(FILE, variables.get(FILE, ("", ""))[1]))
    for name, value in _from_file(path, problems).items():
        _take(values, problems, name, partial(typed, name, value, path))
        sources[name] = f"file {path}"
    for name, (variable, text) in variables.items():
        if name not in OPTIONS:
            problems.append(
                f"{variable} is not an option of heed-serve; unset it "
                "(in Kubernetes: enableServiceLinks: false)"
            )
        elif name not in flags:
            _take(values, problems, name, partial(parsed, name, text))
            sources[name] = f"environment {variable}"
    for name, flag in flags.items():
        _take(values, problems, name, partial(parsed, name, flag))
        sources[name] = f"flag {_flag(name)}"
    config = ServerConfig(**values)
    return Read(config, sources, (*problems, *contradictions(config)))


def changed(config: ServerConfig, changes: Mapping[str, Any]) -> tuple[ServerConfig, list[str]]:
    """Return a configuration with some options changed, and everything wrong with the changes."""
    problems: list[str] = []
    values: dict[str, Any] = {}
    for name, value in changes.items():
        _take(values, problems, name, partial(typed, name, value, ""))
    return replace(config, **values), problems


def _take(
    values: dict[str, Any], problems: list[str], name: str, convert: Callable[[], object]
) -> None:
    try:
        values[name] = convert()
    except ValueError as error:
        problems.append(str(error))


def _from_file(path: str, problems: list[str]) -> dict[str, object]:
    if not path:
        return {}
    try:
        given = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"--config {path}: {error.strerror}")
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"--config {path} is not TOML: {error}")
        return {}
    unknown = [name for name in given if name not in OPTIONS or name == FILE]
    problems += [f"{path}: {name} is not an option of heed-serve; remove it" for name in unknown]
    return {name: value for name, value in given.items() if name not in unknown}


def parsed(name: str, text: str | bool) -> object:  # noqa: FBT001  (a flag without a value)
    """Return the value that the text of a flag or variable stands for.

    Raises:
        ValueError: it is of another type or out of range; says which option.
    """
    kind: Callable[[Any], object] = type(OPTIONS[name].default)
    label = f"{_flag(name)} {text}"
    try:
        value = _boolean(text) if kind is bool else kind(text)
    except ValueError:
        raise ValueError(f"{label}: not a {_KINDS[kind]}") from None
    return _checked(name, value, label)


def typed(name: str, value: object, origin: str) -> object:
    """Return a value that came with a type of its own, from a file or a call.

    Raises:
        ValueError: it is of another type or out of range; says which option of `origin`.
    """
    kind = type(OPTIONS[name].default)
    label = f"{origin}: {name} = {value!r}" if origin else f"{name} = {value!r}"
    if isinstance(OPTIONS[name].default, Path) and isinstance(value, str):
        value = Path(value)
    elif kind is float and type(value) is int:
        value = float(value)
    elif type(value) is not kind:
        raise ValueError(f"{label}: not a {_KINDS.get(kind, 'text')}")
    return _checked(name, value, label)


def _checked(name: str, value: object, label: str) -> object:
    rules = OPTIONS[name].metadata
    if rules["choices"] and value not in rules["choices"]:
        raise ValueError(f"{label}: use one of {', '.join(rules['choices'])}")
    if not rules["check"](value):
        raise ValueError(f"{label}: must {rules['must']}")
    return value


def contradictions(config: ServerConfig) -> Iterator[str]:
    """Yield what no option can know of itself: values that do not go together."""
    for problem in versions.parse(config.versions)[1]:
        yield f"--versions {config.versions}: {problem}"
    if bool(config.tls_cert) != bool(config.tls_key):
        given, other = ("key", "cert") if config.tls_key else ("cert", "key")
        yield f"--tls-{given} needs --tls-{other}: certificate and key belong together"
    if config.tls_client_ca and not config.tls_cert:
        yield "--tls-client-ca needs --tls-cert and --tls-key: clients are known by TLS only"
    if config.port == config.ops_port != 0 and config.host == config.ops_host:
        yield f"--port and --ops-port are both {config.port}; change one"
    if config.provider == "cpu" and config.device_memory_bytes:
        yield "--device-memory-bytes is for a GPU; remove it, or set --provider cuda"
    if config.workers > 1:
        yield from _of_workers(config)


def _of_workers(config: ServerConfig) -> Iterator[str]:
    start = f"--workers {config.workers}"
    if config.unix_socket:
        yield f"{start} contradicts --unix-socket: only one process can answer on it"
    if config.model_control == "explicit":
        yield (
            f"{start} contradicts --model-control explicit: a call reaches one worker only; "
            "use --model-control poll"
        )
    if config.shared_memory:
        yield f"{start} contradicts --shared-memory: a region is registered with one worker only"


def as_flags(config: ServerConfig) -> list[str]:
    """Return the command line of a server with exactly this configuration."""
    flags = []
    for name in OPTIONS:
        flag, value = _flag(name), getattr(config, name)
        if isinstance(value, bool):
            flags.append(flag if value else flag.replace("--", "--no-", 1))
        elif name != FILE:  # what the file says is among the values
            flags.append(f"{flag}={value}")
    return flags


def as_toml(found: Read) -> str:
    """Return what is in force as a file for --config, with the source of each value."""
    lines = ["# What is in force. As a file, it is what --config reads."]
    for name in OPTIONS:
        value, source = getattr(found.config, name), found.sources.get(name, "default")
        start = "# " if name == FILE else ""
        lines.append(f"{start}{name} = {_toml(value)}  # {source}")
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    # TOML's basic strings are JSON's, but for this one character.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _boolean(text: str | bool) -> bool:  # noqa: FBT001  (a flag without a value)
    word = str(text).lower()
    if word not in {"true", "false", "1", "0"}:
        raise ValueError(word)
    return word in {"true", "1"}
