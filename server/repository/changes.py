"""Which names of a repository have changed since they were last followed.

Pure: what each look showed goes in, names come out. A change counts when two looks in a row agree
on it, so that no half-copied directory is opened; what failed comes up again when its files change.
"""

from collections.abc import Iterable, Mapping

from server.repository.index import Found, Stamp, select, stamp
from server.versions import Policy

Look = Mapping[str, tuple[tuple[int, Stamp], ...]]
"""Name -> its selected versions and the stamps of their directories."""


def look(found: Iterable[Found], policy: Policy) -> Look:
    """Return what is selected of what was found, and how it looks now."""
    selected: dict[str, tuple[tuple[int, Stamp], ...]] = {}
    for item in select(found, policy)[0]:
        selected[item.name] = (*selected.get(item.name, ()), (item.version, stamp(item.path)))
    return selected


class Changes:
    """Remembers the last look, and the one that each name was last brought in line with."""

    def __init__(self, first: Look) -> None:
        """Start from a look that has been followed."""
        self._seen = first
        self._followed = dict(first)

    def settled(self, now: Look) -> list[str]:
        """Return the names that have changed and kept still since the look before."""
        names = [
            name
            for name in sorted(now.keys() | self._followed.keys())
            if now.get(name) == self._seen.get(name) != self._followed.get(name)
        ]
        self._seen = now
        return names

    def follow(self, name: str) -> bool:
        """Count a name's last look as followed; return whether anything of it is selected."""
        self._followed.pop(name, None)
        if name in self._seen:
            self._followed[name] = self._seen[name]
        return name in self._seen
