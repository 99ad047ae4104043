"""What is loaded: each model version with its session, tokenizer, batcher and tasks, and its state.

Loading blocks and belongs on a thread; looking up is for the event loop.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from time import monotonic

import numpy as np

from server.batching import plan
from server.batching.batcher import Batcher, BatchOptions
from server.batching.cost import Cost
from server.batching.packing import TokenSequence, pack
from server.batching.request_queue import QueueLimits
from server.batching.statistics import Statistics
from server.config import ServerConfig
from server.errors import BundleCorrupt, InvalidRequest, ModelNotFound, ModelNotReady
from server.metrics import Metrics
from server.repository.bundle import Bundle
from server.repository.index import Found
from server.repository.manifest import Manifest
from server.runtime.pool import SessionPool
from server.runtime.session import Session, SessionConfig
from server.tasks.embed import Embed
from server.tasks.infer import Infer
from server.tasks.tokenize import Tokenize
from server.text.tokenizer import Tokenizer


class State(StrEnum):
    """State of one model version, as the repository index names it."""

    READY = "READY"
    LOADING = "LOADING"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model version that serves."""

    bundle: Bundle
    pool: SessionPool
    tokenizer: Tokenizer
    batcher: Batcher
    statistics: Statistics
    embed: Embed
    tokenize: Tokenize
    infer: Infer

    @property
    def manifest(self) -> Manifest:
        """What the bundle promises."""
        return self.bundle.manifest

    def close(self) -> None:
        """End its threads. No request may be inside."""
        self.tokenizer.close()
        self.pool.close()


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


def load(bundle: Bundle, config: ServerConfig, metrics: Metrics) -> LoadedModel:
    """Open session and tokenizer of a verified bundle, warm up, and connect the tasks.

    Raises:
        BundleCorrupt: a file that cannot be loaded, or one that asks for what this server lacks.
        ProviderUnavailable: the configured provider cannot be used.
    """
    started = monotonic()
    manifest = bundle.manifest
    session = open_session(bundle, config.provider)
    tokenizer = Tokenizer(bundle.tokenizer_path, manifest.limits.max_tokens)
    batching = batch_options(bundle, config)
    _warm_up(session, batching, manifest)
    bound = metrics.for_model(manifest.name, str(manifest.version), config.provider)
    # A GPU runs one batch at a time; the second thread prepares the next one meanwhile.
    num_threads = config.threads if config.provider == "cpu" else 2
    pool = SessionPool(session, num_threads, config.run_cores())
    limits = QueueLimits(config.max_queue_requests, config.max_queue_tokens)
    statistics = Statistics()
    batcher = Batcher(pool, batching, limits, statistics, bound)
    most = config.max_request_sequences
    model = LoadedModel(
        bundle=bundle,
        pool=pool,
        tokenizer=tokenizer,
        batcher=batcher,
        statistics=statistics,
        embed=Embed(manifest, tokenizer, batcher, bound, most),
        tokenize=Tokenize(tokenizer, most),
        infer=Infer(manifest, batcher, bound, most),
    )
    _publish(model, config.provider, metrics, monotonic() - started)
    return model


def open_session(bundle: Bundle, provider: str) -> Session:
    """Open the graph of a bundle with the session options that it names for a provider."""
    manifest = bundle.manifest
    options = manifest.sessions.get(provider)
    if options is None:
        raise BundleCorrupt(
            f"{bundle.path}: sessions has no options for provider '{provider}'; "
            f"it was exported for {', '.join(manifest.sessions)}"
        )
    session = Session(bundle.model_path, SessionConfig(provider, 1, options.disabled_optimizers))
    _check_interface(bundle, session)
    return session


def batch_options(bundle: Bundle, config: ServerConfig) -> BatchOptions:
    """Return how a bundle is batched under a configuration."""
    manifest = bundle.manifest
    options = manifest.sessions[config.provider]
    max_batch_tokens = config.max_batch_tokens or options.max_batch_tokens
    if config.batching == "padded":
        planner = plan.padded(config.max_batch_rows)
        max_batch_tokens = config.max_batch_rows * manifest.limits.max_tokens
    else:
        planner = plan.packed(Cost.of_transformer(manifest.hidden_size), options.min_row_tokens)
    return BatchOptions(
        planner,
        max_batch_tokens,
        options.min_row_tokens,
        manifest.text.pad_id,
        manifest.outputs[0].name,
    )


def _publish(model: LoadedModel, provider: str, metrics: Metrics, load_s: float) -> None:
    manifest = model.manifest
    label = (manifest.name, str(manifest.version))
    queue = model.batcher.queue
    metrics.queue_requests.labels(*label).set_function(lambda: queue.num_requests)
    metrics.queue_tokens.labels(*label).set_function(lambda: queue.num_tokens)
    metrics.queue_oldest_age.labels(*label).set_function(lambda: queue.oldest_age_s(monotonic()))
    metrics.session_threads.labels(*label, provider).set(model.pool.num_threads)
    metrics.model_info.labels(
        *label, manifest.task, provider, manifest.precision, model.bundle.digest[:12]
    ).set(1)
    metrics.model_load.labels(*label).set(load_s)


def _check_interface(bundle: Bundle, session: Session) -> None:
    manifest = bundle.manifest
    for kind, declared, present in (
        ("inputs", manifest.inputs, session.input_names),
        ("outputs", manifest.outputs, session.output_names),
    ):
        names = tuple(spec.name for spec in declared)
        if sorted(names) != sorted(present):
            raise BundleCorrupt(
                f"{bundle.path}: {kind} says {', '.join(names)}, the graph has "
                f"{', '.join(present)}; export the bundle again"
            )


def _warm_up(session: Session, options: BatchOptions, manifest: Manifest) -> None:
    """Run the shortest and the largest batch once, so that no caller pays for first allocations."""
    first = manifest.text.position_offset
    for length in (1, min(manifest.limits.max_tokens, options.max_batch_tokens)):
        ids = np.full(length, manifest.text.pad_id, np.int64)
        one = TokenSequence(ids, np.arange(first, first + length, dtype=np.int64))
        lengths = [length] * max(1, options.max_batch_tokens // length if length > 1 else 1)
        layout = options.planner(lengths, options.max_batch_tokens)
        session.run(pack([one] * layout.num_sequences, layout, options.pad_id), (options.output,))
