"""Change what serves while serving: load, replace and unload models, by call or by looking.

A change is whole or does not happen: everything a name needs is opened, probed and warmed up beside
what serves, then the registry switches from one moment to the next, and what was replaced is closed
when its last call has ended. Changes of one name follow each other; other names never wait.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from server import options, versions
from server.batching.arrivals import Recorder
from server.config import ServerConfig
from server.errors import (
    BundleCorrupt,
    ConfigInvalid,
    ControlDisabled,
    Draining,
    InvalidRequest,
    LoadFailed,
    ModelNotReady,
    ServeError,
)
from server.metrics import Metrics
from server.probe import probe
from server.registry import NOT_SELECTED, UNLOADED, Registry
from server.repository import index
from server.repository.bundle import Bundle, open_each
from server.repository.changes import Changes, look
from server.repository.index import Found
from server.repository.sizes import MAX_MESSAGE_BYTES, message_bytes
from server.tasks.model import LoadedModel, load
from server.versions import Choice

log = logging.getLogger(__name__)

OVERRIDES = (
    "versions", "max_batch_delay_ms", "max_batch_rows", "max_batch_tokens", "max_queue_requests",
    "max_request_sequences", "threads", "cache_bytes",
)  # fmt: skip
"""Options that a load may set for its model alone."""


class Control:
    """Loads and unloads models of a running server. Lives on the event loop."""

    def __init__(
        self,
        config: ServerConfig,
        registry: Registry,
        metrics: Metrics,
        found: Sequence[Found],
        recorder: Recorder | None = None,
    ) -> None:
        """Start from what was found and selected when the server started."""
        self.changed: Callable[[], Awaitable[None]] = _nobody_asked
        """Called after each change of a model's state."""
        self.max_message_bytes = MAX_MESSAGE_BYTES
        """What a message of this server may have, fixed since it listens."""
        self._config = config
        self._policy, _ = versions.parse(config.versions)
        self._registry = registry
        self._metrics = metrics
        self._recorder = recorder
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._work: set[asyncio.Task[None]] = set()
        # A repository that nobody looks at again need not be looked at now.
        is_watched = config.model_control == "poll"
        self._changes = Changes(look(found if is_watched else (), self._policy))
        self._is_blind = False
        self._is_closed = False
        self.is_started = False
        """False while the server loads what it starts with; nothing else may change that."""

    async def load(self, name: str, override: Mapping[str, Any] | None = None) -> None:
        """Let the selected versions of a name serve as the repository holds them now.

        What serves already and has not changed stays as it is. `override` sets some of `OVERRIDES`
        for this model until its next load; its `versions` is a choice such as `latest:2` or `1+3`.
        Returns when the replaced versions are closed. A caller that goes away ends nothing.

        Raises:
            ControlDisabled: the server was not started with --model-control explicit.
            ModelNotReady: the server is still starting.
            Draining: the server began to shut down.
            InvalidRequest: an override that is unknown or out of range; names all of them.
            LoadFailed: the name, or a version asked for, is not in the repository.
            BundleCorrupt: a file is not as exported, or did not open, perhaps in a child process.
            ProviderUnavailable: as `server.tasks.model.load`.
        """
        self._require_explicit("loads")
        choice, config = self._overridden(name, override or {})
        await self._apart(name, partial(self._load, name, choice, config))

    async def unload(self, name: str) -> None:
        """Take a name out of service and free its memory once its calls have ended.

        A name that is unknown, or serves nothing, is fine.

        Raises:
            ControlDisabled: the server was not started with --model-control explicit.
            Draining: the server began to shut down.
        """
        self._require_explicit("unloads")
        await self._apart(name, partial(self._switch, name, [], UNLOADED))

    async def watch(self) -> None:
        """Look at the repository every `poll_s` seconds, until cancelled."""
        while not self._is_closed:
            await asyncio.sleep(self._config.poll_s)
            if self._is_closed:
                return
            # A model that takes long to load must not keep the others from being looked at.
            self._start(self.poll())

    async def poll(self) -> None:
        """Look once: load what is new or changed, unload what is gone, and wait for both."""
        try:
            found = await asyncio.to_thread(index.scan, self._config.models)
        except ConfigInvalid as error:
            # An unmounted volume looks like this. What serves is better than nothing.
            if not self._is_blind:
                log.error(  # noqa: TRY400  (no mistake of the server's, so no trace)
                    "the repository cannot be read", extra={"reason": str(error)}
                )
            self._is_blind = True
            return
        self._is_blind = False
        settled = self._changes.settled(await asyncio.to_thread(look, found, self._policy))
        # What is being changed is looked at next time.
        free = [name for name in settled if name not in self._locks]
        for name in self._registry.names() - {*settled, *self._locks}:
            self._registry.discover(name, _versions(found, name))
        await asyncio.gather(*(self._follow(name, found) for name in free))

    async def close(self) -> None:
        """End what is under way: those who asked for it get Draining."""
        self._is_closed = True
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    def _require_explicit(self, verb: str) -> None:
        if self._config.model_control != "explicit":
            raise ControlDisabled(
                f"this server {verb} nothing by call; start it with --model-control explicit"
            )
        if not self.is_started:
            raise ModelNotReady("the server is still loading what it starts with; try again later")

    def _overridden(self, name: str, override: Mapping[str, Any]) -> tuple[Choice, ServerConfig]:
        unknown = [f"'{key}' cannot be set by a load" for key in override if key not in OVERRIDES]
        problems = [f"{problem}; use {', '.join(OVERRIDES)}" for problem in unknown]
        text = override.get("versions")
        choice = self._policy.of(name) if text is None else versions.parse_choice(str(text))
        if choice is None:
            problems.append(f"versions '{text}' is no choice; use latest, latest:N, all or 1+3")
        changes = {
            key: value for key, value in override.items() if key in OVERRIDES and key != "versions"
        }
        config, wrong = options.changed(self._config, changes)
        problems += wrong
        if problems or choice is None:
            raise InvalidRequest("\n".join(problems))
        return choice, config

    async def _apart(self, name: str, change: Callable[[], Awaitable[None]]) -> None:
        """Make a change in a task of its own, after the other changes of its name."""
        if self._is_closed:
            raise _draining()
        lock = self._locks.setdefault(name, asyncio.Lock())

        async def alone() -> None:
            async with lock:
                await change()

        task = self._start(alone())
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if self._is_closed and task.cancelled():
                raise _draining() from None
            raise

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task

    async def _follow(self, name: str, found: Iterable[Found]) -> None:
        """Bring one name in line with what was looked at."""
        if self._changes.follow(name):
            change = partial(self._load, name, self._policy.of(name), self._config)
        else:
            change = partial(self._switch, name, [], "no longer in the repository")
        try:
            await self._apart(name, change)
        except ServeError as error:
            log.error(  # noqa: TRY400  (no mistake of the server's, so no trace)
                "a change was not followed", extra={"model": name, "reason": str(error)}
            )
        # Nobody awaits what was seen by looking: left alone, the trace would be lost.
        except Exception:
            log.exception("a change was not followed", extra={"model": name})
        self._registry.discover(name, _versions(found, name))
        await self.changed()

    async def _load(self, name: str, choice: Choice, config: ServerConfig) -> None:
        scan = await asyncio.to_thread(index.scan, config.models, may_be_empty=True)
        present = {item.version: item for item in scan if item.name == name}
        if not present:
            raise LoadFailed(f"model '{name}' is not in the repository {config.models}")
        missing = versions.describe_missing(name, choice, sorted(present))
        if missing:
            raise LoadFailed(missing)
        self._registry.discover(name, present)
        selected = [present[version] for version in choice.pick(present)]
        try:
            models = await self._prepare(name, selected, config)
        # Whatever it was goes on to the caller; a version left LOADING would never be tried again.
        except Exception as error:
            for item in selected:
                self._registry.fail(name, item.version, str(error))
            raise
        finally:
            await self.changed()
        await self._switch(name, models, NOT_SELECTED)

    async def _prepare(
        self, name: str, selected: Sequence[Found], config: ServerConfig
    ) -> list[LoadedModel]:
        """Return a model for each version: the one that serves where nothing changed, or a new."""
        for item in selected:
            self._registry.begin(name, item.version)
        await self.changed()
        serving = self._registry.ready_models(name)
        models: list[LoadedModel] = []
        fresh: list[LoadedModel] = []
        try:
            for bundle in await asyncio.to_thread(_open, selected):
                model = serving.get(bundle.manifest.version)
                if model is None or (model.bundle.digest, model.config) != (bundle.digest, config):
                    if config.probe:
                        await probe(bundle.path, config)
                    model = await asyncio.to_thread(
                        load, bundle, config, self._metrics, self._recorder
                    )
                    fresh.append(model)
                    log_loaded(model)
                    self._warn_of_size(model)
                models.append(model)
        except BaseException:
            for model in fresh:
                await asyncio.to_thread(model.close)
            raise
        return models

    def _warn_of_size(self, model: LoadedModel) -> None:
        needed = message_bytes(model.manifest, model.config.max_request_sequences)
        if needed > self.max_message_bytes:
            log.warning(
                "the largest calls of a model do not fit a message; restart the server, or set "
                "--max-message-bytes",
                extra={"model": model.manifest.name, "needs_bytes": needed},
            )

    async def _switch(self, name: str, models: Sequence[LoadedModel], reason: str) -> None:
        """Let these models serve from now on, and close the replaced ones when they are empty."""
        replaced = self._registry.serve(name, models)
        await self.changed()
        await asyncio.gather(*map(self._close, replaced))
        self._registry.retire(name, reason)
        await self.changed()

    async def _close(self, model: LoadedModel) -> None:
        manifest = model.manifest
        label = {"model": manifest.name, "version": manifest.version}
        if not await model.users.gone(self._config.drain_grace_s):
            log.warning("a replaced model stays until its calls end", extra=label)
            self._start(_close_later(model))
            return
        await asyncio.to_thread(model.close)
        log.info("a model was closed", extra=label)


def log_loaded(model: LoadedModel) -> None:
    """Say that a model is ready to serve."""
    log.info(
        "a model is ready",
        extra={
            "model": model.manifest.name,
            "version": model.manifest.version,
            "provider": model.config.provider,
            "load_s": round(model.load_s, 3),
        },
    )


def _open(selected: Sequence[Found]) -> list[Bundle]:
    bundles, problems = open_each(item.path for item in selected)
    if problems:
        raise BundleCorrupt("\n".join(problems.values()))
    return bundles


def _versions(found: Iterable[Found], name: str) -> list[int]:
    return [item.version for item in found if item.name == name]


async def _close_later(model: LoadedModel) -> None:
    await model.users.gone()
    await asyncio.to_thread(model.close)


async def _nobody_asked() -> None:
    """Stand for those who want to know of changes, until there are any."""


def _draining() -> Draining:
    return Draining("the server is shutting down; ask another one")
