"""A loaded model: session, batcher and the tasks that its bundle allows, connected.

Loading blocks and belongs on a thread; what is loaded belongs to the event loop.
"""

import logging
from dataclasses import dataclass
from time import monotonic

from server.batching import setup
from server.batching.batcher import Batcher
from server.batching.packing import TokenSequence
from server.batching.row_layout import Row
from server.batching.statistics import Statistics
from server.config import ServerConfig
from server.errors import BundleCorrupt
from server.metrics import Metrics, ModelMetrics
from server.repository.bundle import Bundle
from server.repository.manifest import Manifest
from server.runtime import cpu
from server.runtime.pool import SessionPool
from server.runtime.session import Session, SessionConfig, require_runtime
from server.tasks import text_tasks
from server.tasks.infer import Infer
from server.tasks.rows import RowReader
from server.tasks.sequences import SequenceReader
from server.tasks.text_tasks import TextTasks

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model version that serves. What its task has no use for is None."""

    bundle: Bundle
    pool: SessionPool
    batcher: Batcher[TokenSequence] | Batcher[Row]
    statistics: Statistics
    infer: Infer[TokenSequence] | Infer[Row]
    text: TextTasks | None = None

    @property
    def manifest(self) -> Manifest:
        """What the bundle promises."""
        return self.bundle.manifest

    def close(self) -> None:
        """End its threads. No request may be inside."""
        if self.text is not None:
            self.text.close()
        self.pool.close()


def load(bundle: Bundle, config: ServerConfig, metrics: Metrics) -> LoadedModel:
    """Open session and tokenizer of a verified bundle, warm up, and connect the tasks.

    Raises:
        BundleCorrupt: a file that cannot be loaded, or one that asks for what this server lacks.
        ProviderUnavailable: the configured provider cannot be used.
    """
    started = monotonic()
    manifest = bundle.manifest
    session = open_session(bundle, config.provider)
    _warn_of_isa(manifest, config.provider)
    is_text = manifest.mask == "segment_ids"
    bound = metrics.for_model(
        manifest.name, str(manifest.version), config.provider, in_tokens=is_text
    )
    try:
        connect = _connect_text if is_text else _connect_rows
        model = connect(bundle, session, config, bound)
    except BundleCorrupt as error:
        raise BundleCorrupt(f"{bundle.path}: {error}") from error
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
    try:
        require_runtime(manifest.min_onnxruntime)
    except BundleCorrupt as error:
        raise BundleCorrupt(f"{bundle.path}: {error}") from error
    session = Session(bundle.model_path, SessionConfig(provider, 1, options.disabled_optimizers))
    _check_interface(bundle, session)
    return session


def _connect_text(
    bundle: Bundle, session: Session, config: ServerConfig, bound: ModelMetrics
) -> LoadedModel:
    manifest, most = bundle.manifest, config.max_request_sequences
    options = setup.sequence_options(manifest, config)
    samples = setup.sequence_samples(manifest, options.budget)
    setup.warm_up(session, options, manifest.outputs, samples)
    pool, statistics = _open_pool(session, config), Statistics()
    batcher = Batcher(pool, options, setup.queue_limits(manifest, config), statistics, bound)
    return LoadedModel(
        bundle=bundle,
        pool=pool,
        batcher=batcher,
        statistics=statistics,
        infer=Infer(manifest, SequenceReader(manifest, most), batcher, bound, most),
        text=text_tasks.connect(bundle, batcher, bound, config),
    )


def _connect_rows(
    bundle: Bundle, session: Session, config: ServerConfig, bound: ModelMetrics
) -> LoadedModel:
    manifest, most = bundle.manifest, config.max_request_sequences
    options = setup.row_options(manifest, config)
    samples = setup.row_samples(manifest, options.budget)
    setup.warm_up(session, options, manifest.outputs, samples)
    pool, statistics = _open_pool(session, config), Statistics()
    batcher = Batcher(pool, options, setup.queue_limits(manifest, config), statistics, bound)
    return LoadedModel(
        bundle=bundle,
        pool=pool,
        batcher=batcher,
        statistics=statistics,
        infer=Infer(manifest, RowReader(manifest, most), batcher, bound, most),
    )


def _open_pool(session: Session, config: ServerConfig) -> SessionPool:
    # A GPU runs one batch at a time; the second thread prepares the next one meanwhile.
    num_threads = config.threads if config.provider == "cpu" else 2
    return SessionPool(session, num_threads, config.run_cores())


def _publish(model: LoadedModel, provider: str, metrics: Metrics, load_s: float) -> None:
    manifest = model.manifest
    label = (manifest.name, str(manifest.version))
    queue = model.batcher.queue
    metrics.queue_requests.labels(*label).set_function(lambda: queue.num_requests)
    if manifest.mask == "segment_ids":
        metrics.queue_tokens.labels(*label).set_function(lambda: queue.size)
    metrics.queue_oldest_age.labels(*label).set_function(lambda: queue.oldest_age_s(monotonic()))
    metrics.session_threads.labels(*label, provider).set(model.pool.num_threads)
    metrics.model_info.labels(
        *label, manifest.task, provider, manifest.precision, model.bundle.digest[:12]
    ).set(1)
    metrics.model_load.labels(*label).set(load_s)


def _warn_of_isa(manifest: Manifest, provider: str) -> None:
    """Say so when a bundle in 8 bits was measured on a CPU that this one is not."""
    lacks = cpu.lacking(manifest.isa) if manifest.precision == "int8" and provider == "cpu" else ""
    if lacks:
        log.warning(
            "a bundle was made for another CPU; its results may saturate or be slower",
            extra={"model": manifest.name, "version": manifest.version, "lacks": lacks},
        )


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
