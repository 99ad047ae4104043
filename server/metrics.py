"""Every metric the server exposes, in one class over a registry that is passed in.

Names follow Prometheus conventions (base units, `_total`); labels never carry texts or request ids.
Costs are kept off the hot path: children are looked up once, batches are observed once per run.
"""

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from server.histogram import Histogram

# x1.5 steps keep a quantile read from the buckets within 20 % of the truth; 100 us is one
# loopback call, 30 s is beyond any deadline worth having.
LATENCY_BUCKETS = (
    0.0001, 0.00015, 0.00025, 0.0004, 0.0006, 0.001, 0.0015, 0.0025, 0.004, 0.006, 0.01, 0.015,
    0.025, 0.04, 0.06, 0.1, 0.15, 0.25, 0.4, 0.6, 1.0, 1.5, 2.5, 4.0, 6.0, 10.0, 15.0, 30.0,
)  # fmt: skip
# Powers of two: sequences end at the model's limit, batches at the token budget.
TOKEN_BUCKETS = (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
# Real over predicted seconds of a run: within a few per cent on a quiet machine.
RATIO_BUCKETS = (0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.5, 2.0, 4.0)
COUNT_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

STAGES = ("tokenize", "queue", "run")
REASONS = (
    "queue_full", "predicted_late", "inflight_full", "draining", "validation", "expired",
    "cancelled", "key",
)  # fmt: skip
MODEL = ("model", "version")


class Metrics:
    """The server's instruments. One instance per process, one registry per instance."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        # A `_created` series beside each counter doubles a scrape and no query here reads it.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # has no annotations
        self.registry = registry or CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._calls()
        self._models()
        self._process()

    def _calls(self) -> None:
        registry = self.registry
        self.requests = Counter(
            "heed_requests", "Calls answered, by gRPC status code.", ("method", "code"),
            registry=registry,
        )  # fmt: skip
        self.request_duration = Histogram(
            "heed_request_duration_seconds", "From the first byte parsed to the answer built.",
            ("method",), buckets=LATENCY_BUCKETS, registry=registry,
        )  # fmt: skip
        self.rejected = Counter(
            "heed_rejected", "Calls refused or given up before an answer, by cause.", ("reason",),
            registry=registry,
        )  # fmt: skip
        self.inflight_requests = Gauge(
            "heed_inflight_requests", "Calls that hold an admission permit.", registry=registry
        )
        for reason in REASONS:
            self.rejected.labels(reason)

    def _models(self) -> None:
        registry = self.registry
        self.stage_duration = Histogram(
            "heed_stage_duration_seconds", "Where the time of a sequence or run went, by stage.",
            (*MODEL, "stage"), buckets=LATENCY_BUCKETS, registry=registry,
        )  # fmt: skip
        self.queue_requests = Gauge(
            "heed_queue_requests", "Requests waiting for a session.", MODEL, registry=registry
        )
        self.queue_tokens = Gauge(
            "heed_queue_tokens", "Tokens waiting for a session.", MODEL, registry=registry
        )
        self.queue_oldest_age = Gauge(
            "heed_queue_oldest_age_seconds", "Age of the oldest waiting request.", MODEL,
            registry=registry,
        )  # fmt: skip
        self.batch_sequences = Histogram(
            "heed_batch_sequences", "Sequences, or whole rows, per run.", MODEL,
            buckets=COUNT_BUCKETS, registry=registry,
        )  # fmt: skip
        self.batch_tokens = Histogram(
            "heed_batch_tokens", "Tokens per run, padding left out.", MODEL,
            buckets=TOKEN_BUCKETS, registry=registry,
        )  # fmt: skip
        self.request_tokens = Histogram(
            "heed_request_tokens", "Tokens per sequence received.", MODEL, buckets=TOKEN_BUCKETS,
            registry=registry,
        )  # fmt: skip
        self.tokens = Counter(
            "heed_tokens", "Tokens run, padding left out.", MODEL, registry=registry
        )
        self.padding_tokens = Counter(
            "heed_padding_tokens", "Padding run beside the tokens.", MODEL, registry=registry
        )
        self.run_prediction = Histogram(
            "heed_run_prediction_ratio", "Real over predicted seconds of a run.", MODEL,
            buckets=RATIO_BUCKETS, registry=registry,
        )  # fmt: skip
        self.session_busy = Counter(
            "heed_session_busy_seconds", "Time that dispatch threads spent inside ONNX Runtime.",
            (*MODEL, "provider"), registry=registry,
        )  # fmt: skip
        self.session_threads = Gauge(
            "heed_session_threads", "Dispatch threads of the session pool.",
            (*MODEL, "provider"), registry=registry,
        )  # fmt: skip
        self.run_failures = Counter(
            "heed_run_failures", "Sequences or whole rows that failed inside ONNX Runtime.", MODEL,
            registry=registry,
        )  # fmt: skip
        self.deadline_remaining = Histogram(
            "heed_deadline_remaining_seconds", "Time left when a sequence entered a run.", MODEL,
            buckets=LATENCY_BUCKETS, registry=registry,
        )  # fmt: skip
        self.cache_hits = Counter(
            "heed_cache_hits", "Sequences or whole rows answered without a run of their own.",
            MODEL, registry=registry,
        )  # fmt: skip
        self.cache_misses = Counter(
            "heed_cache_misses", "Sequences or whole rows that the cache had to have run.", MODEL,
            registry=registry,
        )  # fmt: skip
        self.cache_bytes = Gauge(
            "heed_cache_bytes", "Memory of the answers that are kept.", MODEL, registry=registry
        )
        self.model_ready = Gauge(
            "heed_model_ready", "1 while the version takes traffic.", MODEL, registry=registry
        )
        self.model_info = Gauge(
            "heed_model_info", "Always 1; what is loaded.",
            (*MODEL, "task", "provider", "precision", "digest"), registry=registry,
        )  # fmt: skip
        self.model_load = Gauge(
            "heed_model_load_seconds", "Time to verify, load and warm up.", MODEL,
            registry=registry,
        )  # fmt: skip

    def _process(self) -> None:
        registry = self.registry
        self.ready = Gauge("heed_ready", "1 while the server takes traffic.", registry=registry)
        self.draining = Gauge(
            "heed_draining", "1 from the first stop signal on.", registry=registry
        )
        self.build_info = Gauge(
            "heed_build_info", "Always 1; versions of heed and ONNX Runtime.",
            ("version", "onnxruntime"), registry=registry,
        )  # fmt: skip
        self.event_loop_lag = Histogram(
            "heed_event_loop_lag_seconds", "How late the event loop ran a timer.",
            buckets=LATENCY_BUCKETS, registry=registry,
        )  # fmt: skip

    def forget(self, model: str, version: str) -> None:
        """Drop every series of a model version, and with them what their functions refer to."""
        for instrument in vars(self).values():
            if isinstance(instrument, Histogram):
                instrument.remove(model, version)
            elif isinstance(instrument, Counter | Gauge) and _labels(instrument)[:2] == MODEL:
                instrument.remove_by_labels(dict(zip(MODEL, (model, version), strict=True)))

    def for_model(
        self, model: str, version: str, provider: str, *, in_tokens: bool = True
    ) -> "ModelMetrics":
        """Return the children of one loaded model, looked up once."""
        return ModelMetrics(self, model, version, provider, in_tokens=in_tokens)


def _labels(instrument: Counter | Gauge) -> Sequence[str]:
    names: Sequence[str] = instrument._labelnames  # noqa: SLF001  (they have no public name)
    return names


class ModelMetrics:
    """The instruments of one model version, with their labels already bound."""

    def __init__(
        self, metrics: Metrics, model: str, version: str, provider: str, *, in_tokens: bool
    ) -> None:
        """Look everything up. Whole rows have no tokens to count: `in_tokens` is for text."""
        self._in_tokens = in_tokens
        key = (model, version)
        self.stages = {stage: metrics.stage_duration.labels(*key, stage) for stage in STAGES}
        self.batch_sequences = metrics.batch_sequences.labels(*key)
        self.batch_tokens = metrics.batch_tokens.labels(*key)
        self.request_tokens = metrics.request_tokens.labels(*key)
        self.tokens = metrics.tokens.labels(*key)
        self.padding_tokens = metrics.padding_tokens.labels(*key)
        self.run_prediction = metrics.run_prediction.labels(*key)
        self.session_busy = metrics.session_busy.labels(*key, provider)
        self.run_failures = metrics.run_failures.labels(*key)
        self.deadline_remaining = metrics.deadline_remaining.labels(*key)
        self.cache_hits = metrics.cache_hits.labels(*key)
        self.cache_misses = metrics.cache_misses.labels(*key)

    def observe_request(self, sizes: Iterable[int]) -> None:
        """Record the sizes of what one call brought."""
        if self._in_tokens:
            for size in sizes:
                self.request_tokens.observe(size)

    def observe_run(
        self, sizes: Sequence[int], padded_tokens: int, run_s: float, predicted_s: float
    ) -> None:
        """Record one finished run."""
        if run_s > 0 and predicted_s > 0:
            self.run_prediction.observe(run_s / predicted_s)
        self.batch_sequences.observe(len(sizes))
        self.session_busy.inc(run_s)
        self.stages["run"].observe(run_s)
        if self._in_tokens:
            tokens = sum(sizes)
            self.batch_tokens.observe(tokens)
            self.tokens.inc(tokens)
            self.padding_tokens.inc(padded_tokens - tokens)


class WorkerMetrics:
    """What the parent of several workers counts by itself."""

    def __init__(self, workers: Iterable[int]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # has no annotations
        self.registry = CollectorRegistry()
        self.restarts = Counter(
            "heed_worker_restarts", "Workers that ended by themselves and were started again.",
            ("worker",), registry=self.registry,
        )  # fmt: skip
        for worker in workers:
            self.restarts.labels(str(worker))
