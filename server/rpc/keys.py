"""The file of API keys: what it may say, and which key a text is.

Keys themselves are never stored or logged: the file holds SHA-256 digests. Knows no calls.
"""

import hashlib
import hmac
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.errors import ConfigInvalid

INFER, CONTROL, INFO = "infer", "control", "info"
GROUPS = (INFER, CONTROL, INFO)
FIELDS = ("name", "sha256", "groups")

MAX_KEYS = 1000
"""An unknown key is compared with every known one: this bounds what a stranger's call costs."""

EMPTY_DIGEST = hashlib.sha256(b"").digest()


@dataclass(frozen=True, slots=True)
class Key:
    """What the file says about one key."""

    name: str
    digest: bytes
    groups: frozenset[str]


def parse_keys(text: str, label: str) -> tuple[Key, ...]:
    """Return the keys of a file's text.

    Raises:
        ConfigInvalid: lists every problem of the file; `label` names it.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigInvalid(f"{label}: not TOML: {error}") from error
    problems = [
        f"{label}: '{name}' is unknown; keys are [[keys]] tables"
        for name in document
        if name != "keys"
    ]
    tables = document.get("keys", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        tables = []
        problems.append(f"{label}: write each key as a [[keys]] table")
    elif not tables or len(tables) > MAX_KEYS:
        problems.append(f"{label}: has {len(tables)} keys; write 1 to {MAX_KEYS} [[keys]] tables")
    keys = []
    for index, table in enumerate(tables):
        found = _table_problems(table)
        problems += [f"{label}: key {table.get('name', index + 1)!r}: {what}" for what in found]
        if not found:
            digest = bytes.fromhex(table["sha256"])
            keys.append(Key(table["name"], digest, frozenset(table["groups"])))
    problems += [f"{label}: name {name!r} is used twice" for name in _twice(k.name for k in keys)]
    problems += [
        f"{label}: one sha256 is used twice, by {' and '.join(_names_of(keys, digest))}"
        for digest in _twice(key.digest for key in keys)
    ]
    if problems:
        raise ConfigInvalid("\n".join(problems))
    return tuple(keys)


def _table_problems(table: Mapping[str, Any]) -> list[str]:
    problems = [f"'{name}' is unknown; use {', '.join(FIELDS)}" for name in table.keys() - FIELDS]
    name, digest, groups = (table.get(field) for field in FIELDS)
    if not isinstance(name, str) or not name:
        problems.append("name must be a text that is not empty")
    if not isinstance(digest, str) or not _is_digest(digest):
        problems.append("sha256 must be the 64 hexadecimal digits of the key's SHA-256")
    elif bytes.fromhex(digest) == EMPTY_DIGEST:
        problems.append("sha256 is the digest of an empty key")
    if not isinstance(groups, list) or not groups or not all(group in GROUPS for group in groups):
        problems.append(f"groups must be a list of one or more of {', '.join(GROUPS)}")
    return sorted(problems)


def _is_digest(text: str) -> bool:
    return len(text) == len(EMPTY_DIGEST.hex()) and set(text.lower()) <= set("0123456789abcdef")


def _twice(values: Iterable[Any]) -> list[Any]:
    seen = list(values)
    return [value for value in dict.fromkeys(seen) if seen.count(value) > 1]


def _names_of(keys: Sequence[Key], digest: bytes) -> list[str]:
    return [repr(key.name) for key in keys if key.digest == digest]


def read_keys(path: Path) -> tuple[Key, ...]:
    """Return the keys of a file.

    Raises:
        ConfigInvalid: it cannot be read; otherwise as `parse_keys`.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigInvalid(f"--api-keys {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"--api-keys {path}: not UTF-8 text") from error
    return parse_keys(text, f"--api-keys {path}")


class KeyRing:
    """The keys of one version of the file."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)
        # Holds only what was found, so never more entries than there are keys.
        self._verified: dict[str, Key] = {}

    def find(self, presented: str) -> Key | None:
        """Return the key that was presented, none when it is unknown."""
        known = self._verified.get(presented)
        if known is not None:
            return known
        digest = hashlib.sha256(presented.encode("utf-8", "surrogatepass")).digest()
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                known = key
        if known is not None:
            self._verified[presented] = known
        return known
