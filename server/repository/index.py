"""What a repository holds: names and versions, whether or not they can be served."""

from dataclasses import dataclass
from pathlib import Path

from server.errors import ConfigInvalid
from server.repository.manifest import MANIFEST_NAME


@dataclass(frozen=True, slots=True)
class Found:
    """A version directory, not opened yet."""

    name: str
    version: int
    path: Path


def scan(root: Path) -> list[Found]:
    """Return every `<name>/<version>` directory, by name and ascending version.

    Names with a leading dot are exports in progress; a directory that is no positive whole number
    is no version.

    Raises:
        ConfigInvalid: the root cannot be read, or holds no version.
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
    if not found:
        raise ConfigInvalid(
            f"--models {root}: no <name>/<version>/{MANIFEST_NAME} in it; run heed-export first"
        )
    return sorted(found, key=lambda item: (item.name, item.version))


def latest(found: list[Found]) -> list[Found]:
    """Return the highest version of each name."""
    return list({item.name: item for item in found}.values())


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit() and not name.startswith("0")
