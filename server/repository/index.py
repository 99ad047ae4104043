"""What a repository holds: names and versions, whether or not they can be served."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from server.errors import ConfigInvalid
from server.repository.manifest import MANIFEST_NAME
from server.versions import Policy, describe_missing

Stamp = tuple[tuple[str, int, int], ...]
"""Name, size and time of change of each file of a bundle: differs when a file was replaced."""


@dataclass(frozen=True, slots=True)
class Found:
    """A version directory, not opened yet."""

    name: str
    version: int
    path: Path


def scan(root: Path, *, may_be_empty: bool = False) -> list[Found]:
    """Return every `<name>/<version>` directory, by name and ascending version.

    Names with a leading dot are exports in progress; a directory that is no positive whole number
    is no version.

    Raises:
        ConfigInvalid: the root cannot be read, or holds no version though it must.
    """
    try:
        found = [
            Found(model.name, int(version.name), version)
            for model in root.iterdir()
            if model.is_dir() and not model.name.startswith(".")
            for version in model.iterdir()
            if version.is_dir() and _is_version(version.name)
        ]
    except OSError as error:
        raise ConfigInvalid(f"--models {root}: {error.strerror}") from error
    if not found and not may_be_empty:
        raise ConfigInvalid(
            f"--models {root}: no <name>/<version>/{MANIFEST_NAME} in it; run heed-export first"
        )
    return sorted(found, key=lambda item: (item.name, item.version))


def select(found: Iterable[Found], policy: Policy) -> tuple[list[Found], list[str]]:
    """Return the versions that a policy chooses, and what it asks for that is not there."""
    by_name: dict[str, dict[int, Found]] = {}
    for item in found:
        by_name.setdefault(item.name, {})[item.version] = item
    selected: list[Found] = []
    problems: list[str] = []
    for name in sorted(by_name.keys() | policy.by_name.keys()):
        versions, choice = by_name.get(name, {}), policy.of(name)
        problems.append(describe_missing(name, choice, sorted(versions)))
        if not versions and not choice.exactly:
            problems.append(f"model '{name}' is not in the repository")
        selected.extend(versions[version] for version in choice.pick(versions))
    return selected, [problem for problem in problems if problem]


def stamp(path: Path) -> Stamp:
    """Return what tells whether a bundle was replaced, without reading its files."""
    try:
        stats = sorted((entry.name, entry.stat()) for entry in path.iterdir())
    except OSError:
        return ()  # it vanished while it was looked at; the next look sees that
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit() and not name.startswith("0")
