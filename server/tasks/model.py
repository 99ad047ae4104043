"""A loaded model: session, batcher and the tasks that its bundle allows, connected.

Loading blocks and belongs on a thread; what is loaded belongs to the event loop.
"""

import logging
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic
from typing import Generic

from server.batching import setup, unit_keys
from server.batching.arrivals import Recorder
from server.batching.batcher import Batcher, BatchOptions, OnSubmit
from server.batching.cache import Cache
from server.batching.layout import U
from server.batching.packing import TokenSequence
from server.batching.row_layout import Row
from server.batching.sessions import Opened, open_sessions
from server.batching.statistics import Statistics
from server.batching.submitter import Submitter
from server.batching.unit_keys import Keys
from server.config import ServerConfig
from server.errors import BundleCorrupt
from server.metrics import MODEL, Metrics, ModelMetrics
from server.repository.bundle import Bundle
from server.repository.manifest import Manifest
from server.runtime import cpu
from server.runtime.pool import SessionPool
from server.tasks import text_tasks
from server.tasks.infer import Infer
from server.tasks.rows import RowReader
from server.tasks.sequences import SequenceReader
from server.tasks.text_tasks import TextTasks
from server.tasks.users import Users

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model version that serves. What its task has no use for is None."""

    bundle: Bundle
    config: ServerConfig
    """What it was loaded with: the server's, or that with changes for this model."""
    pool: SessionPool
    batcher: Batcher[TokenSequence] | Batcher[Row]
    statistics: Statistics
    infer: Infer[TokenSequence] | Infer[Row]
    text: TextTasks | None = None
    cache: Cache[TokenSequence] | Cache[Row] | None = None
    users: Users = field(default_factory=Users)
    """Calls inside. Who looks a model up for a call holds it, see `Registry.get`."""
    load_s: float = 0.0

    @property
    def manifest(self) -> Manifest:
        """What the bundle promises."""
        return self.bundle.manifest

    def publish(self, metrics: Metrics) -> None:
        """Let the gauges of this version speak of this model. Call it when it begins to serve."""
        manifest, provider, queue = self.manifest, self.config.provider, self.batcher.queue
        label = (manifest.name, str(manifest.version))
        metrics.queue_requests.labels(*label).set_function(lambda: queue.num_requests)
        if manifest.mask == "segment_ids":
            metrics.queue_tokens.labels(*label).set_function(lambda: queue.size)
        metrics.queue_oldest_age.labels(*label).set_function(
            lambda: queue.oldest_age_s(monotonic())
        )
        # The same version may have been loaded with other options before.
        for gauge in (metrics.cache_bytes, metrics.model_info):
            gauge.remove_by_labels(dict(zip(MODEL, label, strict=True)))
        if self.cache is not None:
            metrics.cache_bytes.labels(*label).set_function(partial(_num_bytes, self.cache))
        metrics.session_threads.labels(*label, provider).set(self.pool.num_threads)
        metrics.model_info.labels(
            *label, manifest.task, provider, manifest.precision, self.bundle.digest[:12]
        ).set(1)
        metrics.model_load.labels(*label).set(self.load_s)

    def close(self) -> None:
        """End its threads and free its memory. Blocks; no request may be inside."""
        if self.text is not None:
            self.text.close()
        self.pool.close()


def load(
    bundle: Bundle, config: ServerConfig, metrics: Metrics, recorder: Recorder | None = None
) -> LoadedModel:
    """Open session and tokenizer of a verified bundle, warm up, and connect the tasks.

    Nothing is left behind when it fails.

    Raises:
        BundleCorrupt: a file that cannot be loaded, or one that asks for what this server lacks.
        ProviderUnavailable: the configured provider cannot be used.
    """
    started = monotonic()
    manifest = bundle.manifest
    opened = open_sessions(bundle, config)
    _warn_of_isa(manifest, config.provider)
    is_text = manifest.mask == "segment_ids"
    bound = metrics.for_model(
        manifest.name, str(manifest.version), config.provider, in_tokens=is_text
    )
    on_submit = recorder.of_model(manifest.name) if recorder else None
    try:
        connect = _connect_text if is_text else _connect_rows
        model = connect(bundle, opened, config, bound, on_submit)
    except BundleCorrupt as error:
        opened.close()
        raise BundleCorrupt(f"{bundle.path}: {error}") from error
    return replace(model, load_s=monotonic() - started)


@dataclass(frozen=True, slots=True)
class Batching(Generic[U]):
    """What runs the units of a model, and what its tasks submit them to."""

    pool: SessionPool
    batcher: Batcher[U]
    front: Submitter[U]
    """The batcher itself unless answers are kept."""

    @property
    def cache(self) -> Cache[U] | None:
        """The answers that are kept."""
        return self.front if isinstance(self.front, Cache) else None


def _connect_text(
    bundle: Bundle,
    opened: Opened,
    config: ServerConfig,
    bound: ModelMetrics,
    on_submit: OnSubmit | None,
) -> LoadedModel:
    manifest, most = bundle.manifest, config.max_request_sequences
    options = setup.open_sequences(opened, manifest, config)
    keys = unit_keys.for_sequences(_identity(bundle))
    batching = _batching(opened, manifest, config, bound, options, keys, on_submit)
    front = batching.front
    try:
        text = text_tasks.connect(bundle, front, bound, config)
    except BundleCorrupt:
        batching.pool.close()
        raise
    return LoadedModel(
        bundle=bundle,
        config=config,
        pool=batching.pool,
        batcher=batching.batcher,
        statistics=batching.batcher.statistics,
        infer=Infer(manifest, SequenceReader(manifest, most), front, bound, most),
        text=text,
        cache=batching.cache,
    )


def _connect_rows(
    bundle: Bundle,
    opened: Opened,
    config: ServerConfig,
    bound: ModelMetrics,
    on_submit: OnSubmit | None,
) -> LoadedModel:
    manifest, most = bundle.manifest, config.max_request_sequences
    options = setup.open_rows(opened, manifest, config)
    keys = unit_keys.for_rows(_identity(bundle))
    batching = _batching(opened, manifest, config, bound, options, keys, on_submit)
    return LoadedModel(
        bundle=bundle,
        config=config,
        pool=batching.pool,
        batcher=batching.batcher,
        statistics=batching.batcher.statistics,
        infer=Infer(manifest, RowReader(manifest, most), batching.front, bound, most),
        cache=batching.cache,
    )


def _batching(  # noqa: PLR0917  (each is another part of one model)
    opened: Opened,
    manifest: Manifest,
    config: ServerConfig,
    bound: ModelMetrics,
    options: BatchOptions[U],
    keys: Keys[U],
    on_submit: OnSubmit | None,
) -> Batching[U]:
    pool, limits = opened.pool(config), setup.queue_limits(manifest, config)
    if not config.cache_bytes:
        batcher = Batcher(pool, options, limits, Statistics(), bound, on_submit=on_submit)
        return Batching(pool, batcher, batcher)
    batcher = Batcher(pool, options, limits, Statistics(), bound)
    # What is found in the cache has come in as well: it is recorded there.
    cache = Cache(
        batcher, keys, config.cache_bytes, config.priority_levels, bound, on_submit=on_submit
    )
    return Batching(pool, batcher, cache)


def _identity(bundle: Bundle) -> str:
    """Return what answers depend on beside the inputs."""
    return f"{bundle.digest}/{bundle.manifest.name}/{bundle.manifest.version}"


def _num_bytes(cache: Cache[TokenSequence] | Cache[Row]) -> float:
    return cache.num_bytes


def _warn_of_isa(manifest: Manifest, provider: str) -> None:
    """Say so when a bundle in 8 bits was measured on a CPU that this one is not."""
    lacks = cpu.lacking(manifest.isa) if manifest.precision == "int8" and provider == "cpu" else ""
    if lacks:
        log.warning(
            "a bundle was made for another CPU; its results may saturate or be slower",
            extra={"model": manifest.name, "version": manifest.version, "lacks": lacks},
        )
