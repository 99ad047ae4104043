"""Which versions of which models serve, and why the others do not.

Lives on the event loop; loading happens elsewhere, see `server.tasks.model`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from server.errors import InvalidRequest, ModelNotFound, ModelNotReady
from server.metrics import Metrics
from server.repository.index import Found
from server.tasks.model import LoadedModel


class State(StrEnum):
    """State of one model version, as the repository index names it."""

    READY = "READY"
    LOADING = "LOADING"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(slots=True)
class Entry:
    """One version found in the repository."""

    name: str
    version: int
    state: State
    reason: str = ""
    model: LoadedModel | None = None
    selected: bool = False
    """The version policy wants it served."""


class Registry:
    """Every version of the repository, loaded or not."""

    def __init__(self, found: Iterable[Found], selected: Iterable[Found], metrics: Metrics) -> None:
        self.accepting = True
        """False from the first stop signal on."""
        self._entries = {
            (item.name, item.version): Entry(
                item.name, item.version, State.UNAVAILABLE, "not selected; the latest is served"
            )
            for item in found
        }
        for item in selected:
            entry = self._entries[item.name, item.version]
            entry.selected, entry.state, entry.reason = True, State.LOADING, "being loaded"
            # Present from the start, so that a model that never gets ready is seen as 0.
            ready = metrics.model_ready.labels(item.name, str(item.version))
            ready.set_function(partial(_serves, entry))

    @property
    def is_ready(self) -> bool:
        """Whether every selected version serves and no drain has begun."""
        return self.accepting and all(
            entry.state is State.READY for entry in self._entries.values() if entry.selected
        )

    def entries(self) -> list[Entry]:
        """Return every version found, by name and version."""
        return list(self._entries.values())

    def fail(self, name: str, version: int, reason: str) -> None:
        """Note that a selected version cannot serve, and do without it."""
        entry = self._entries[name, version]
        entry.state, entry.reason, entry.selected = State.UNAVAILABLE, reason, False

    def add(self, model: LoadedModel) -> None:
        """Let a loaded model serve."""
        entry = self._entries[model.manifest.name, model.manifest.version]
        entry.state, entry.reason, entry.model = State.READY, "", model

    def ready_versions(self, name: str) -> list[str]:
        """Return the versions of a name that serve, ascending."""
        return [
            str(entry.version)
            for entry in self._entries.values()
            if entry.name == name and entry.state is State.READY
        ]

    def models(self) -> list[LoadedModel]:
        """Return the models that serve."""
        return [entry.model for entry in self._entries.values() if entry.model is not None]

    def get(self, name: str, version: str = "") -> LoadedModel:
        """Return the model to answer a call; an empty version means the highest that serves.

        Raises:
            InvalidRequest: the version is not a whole number.
            ModelNotFound: no such name or version.
            ModelNotReady: it exists but does not serve; the message has the reason.
        """
        if version and not (version.isascii() and version.isdigit()):
            raise InvalidRequest(f"version '{version}' is not a whole number; leave it empty")
        entries = [
            entry
            for entry in self._entries.values()
            if entry.name == name and (not version or entry.version == int(version))
        ]
        if not entries:
            label = f"'{name}' version {version}" if version else f"'{name}'"
            raise ModelNotFound(
                f"model {label} is not in the repository; RepositoryIndex lists what is"
            )
        best = max(entries, key=lambda entry: (entry.state is State.READY, entry.version))
        if best.model is None:
            raise ModelNotReady(
                f"model '{name}' version {best.version} is {best.state}: {best.reason}"
            )
        return best.model


def _serves(entry: Entry) -> float:
    return float(entry.state is State.READY)
