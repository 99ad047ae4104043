"""Which versions of which models serve, and why the others do not.

Lives on the event loop. Loading and closing happen elsewhere: `server.control` does both and tells
the registry, which changes from one moment to the next.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from server.errors import InvalidRequest, ModelNotFound, ModelNotReady
from server.metrics import Metrics
from server.repository.index import Found
from server.tasks.model import LoadedModel

UNLOADED = "unloaded"
NOT_SELECTED = "not selected by the version policy"


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
    state: State = State.UNAVAILABLE
    reason: str = NOT_SELECTED
    model: LoadedModel | None = None
    selected: bool = False
    """The server is ready only while this version is."""


class Registry:
    """Every version of the repository, loaded or not."""

    def __init__(self, found: Iterable[Found], selected: Iterable[Found], metrics: Metrics) -> None:
        self.accepting = True
        """False from the first stop signal on."""
        self._metrics = metrics
        self._entries: dict[tuple[str, int], Entry] = {}
        self._serving: dict[tuple[str, str], LoadedModel] = {}
        """By name and version as callers write them; an empty version is the highest."""
        for item in found:
            self._add(item.name, item.version)
        for item in selected:
            self.begin(item.name, item.version)
            self._entries[item.name, item.version].selected = True

    @property
    def is_ready(self) -> bool:
        """Whether every selected version serves and no drain has begun."""
        return self.accepting and all(
            entry.state is State.READY for entry in self._entries.values() if entry.selected
        )

    def entries(self) -> list[Entry]:
        """Return every version known, by name and version."""
        return [self._entries[key] for key in sorted(self._entries)]

    def names(self) -> set[str]:
        """Return the names of which at least one version is known."""
        return {name for name, _ in self._entries}

    def models(self) -> list[LoadedModel]:
        """Return the models that serve."""
        return [entry.model for entry in self.entries() if entry.model is not None]

    def ready_models(self, name: str) -> dict[int, LoadedModel]:
        """Return what serves under a name, by version, ascending."""
        return {
            entry.version: entry.model
            for entry in self.entries()
            if entry.name == name and entry.model is not None
        }

    def ready_versions(self, name: str) -> list[str]:
        """Return the versions of a name that serve, ascending."""
        return [str(version) for version in self.ready_models(name)]

    def get(self, name: str, version: str = "") -> LoadedModel:
        """Return the model to answer a call; an empty version means the highest that serves.

        The current task holds the model until it ends.

        Raises:
            InvalidRequest: the version is not a whole number.
            ModelNotFound: no such name or version, or nothing of the name is meant to serve.
            ModelNotReady: it exists but does not serve; the message has the reason.
        """
        model = self._serving.get((name, version))
        if model is None:
            model = self._look(name, version)
        model.users.hold()
        return model

    def _look(self, name: str, version: str) -> LoadedModel:
        """Return a model by another spelling of its version, or say why there is none."""
        if version and not (version.isascii() and version.isdigit()):
            raise InvalidRequest(f"version '{version}' is not a whole number; leave it empty")
        entries = [
            entry
            for entry in self.entries()
            if entry.name == name and (not version or entry.version == int(version))
        ]
        if not entries:
            label = f"'{name}' version {version}" if version else f"'{name}'"
            raise ModelNotFound(
                f"model {label} is not in the repository; RepositoryIndex lists what is"
            )
        best = max(entries, key=lambda entry: (entry.state is State.READY, entry.version))
        if best.model is not None:
            return best.model
        if not version and any(entry.reason == UNLOADED for entry in entries):
            raise ModelNotFound(f"model '{name}' is unloaded; RepositoryModelLoad loads it")
        raise ModelNotReady(f"model '{name}' version {best.version} is {best.state}: {best.reason}")

    def discover(self, name: str, versions: Iterable[int]) -> None:
        """Note which versions of a name the repository holds now. What serves stays known."""
        present = set(versions)
        for version in present:
            self._add(name, version)
        for entry in self._of(name):
            if entry.version not in present and entry.state is State.UNAVAILABLE:
                self._forget(entry)

    def begin(self, name: str, version: int) -> None:
        """Note that a version is being loaded. One that serves goes on serving."""
        entry = self._entries[name, version]
        if entry.state is not State.READY:
            entry.state, entry.reason = State.LOADING, "being loaded"
            self._show(entry)

    def fail(self, name: str, version: int, reason: str) -> None:
        """Note that a version cannot be loaded. One that serves goes on; readiness is not lost."""
        entry = self._entries[name, version]
        if entry.state is not State.READY:
            entry.state, entry.reason, entry.selected = State.UNAVAILABLE, reason, False
            self._metrics.forget(name, str(version))  # what the attempt has left
            self._show(entry)

    def add(self, model: LoadedModel) -> None:
        """Let a loaded model serve, beside the versions that do."""
        name, version = model.manifest.name, model.manifest.version
        self.serve(name, [*(self.ready_models(name) | {version: model}).values()])

    def serve(self, name: str, models: Sequence[LoadedModel]) -> list[LoadedModel]:
        """Let exactly these models serve under a name from now on, and return those that did.

        What is returned takes no new calls; `retire` each version when its calls have ended.
        """
        before = self.ready_models(name)
        after = {model.manifest.version: model for model in models}
        for version in before.keys() - after.keys():
            entry = self._entries[name, version]
            entry.state, entry.reason, entry.model = State.UNLOADING, "calls are finishing", None
            entry.selected = False
        for version, model in after.items():
            self.begin(name, version)
            entry = self._entries[name, version]
            entry.state, entry.reason, entry.model, entry.selected = State.READY, "", model, True
            if before.get(version) is not model:
                model.publish(self._metrics)
        for key in [key for key in self._serving if key[0] == name]:
            del self._serving[key]
        self._serving |= {(name, str(version)): model for version, model in after.items()}
        if after:
            self._serving[name, ""] = after[max(after)]
        return [model for version, model in before.items() if after.get(version) is not model]

    def retire(self, name: str, reason: str) -> None:
        """Note that every version of a name which does not serve is not meant to."""
        for entry in self._of(name):
            if entry.state is not State.READY:
                self._metrics.forget(name, str(entry.version))
                entry.state, entry.reason, entry.selected = State.UNAVAILABLE, reason, False

    def _of(self, name: str) -> list[Entry]:
        return [entry for entry in self.entries() if entry.name == name]

    def _add(self, name: str, version: int) -> None:
        self._entries.setdefault((name, version), Entry(name, version))

    def _show(self, entry: Entry) -> None:
        """Show whether a version serves, so that one which never gets ready is seen as 0."""
        ready = self._metrics.model_ready.labels(entry.name, str(entry.version))
        ready.set_function(partial(_serves, entry))

    def _forget(self, entry: Entry) -> None:
        del self._entries[entry.name, entry.version]
        self._metrics.forget(entry.name, str(entry.version))


def _serves(entry: Entry) -> float:
    return float(entry.state is State.READY)
