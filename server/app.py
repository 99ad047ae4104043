"""The composition root: builds every part, starts them in order, and drains them in order.

The only place that knows all parts. Nothing here decides how a request is served.
"""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Coroutine, Sequence
from importlib.metadata import version as distribution_version
from pathlib import Path
from time import monotonic
from typing import Any

from server.admission import Admission
from server.batching.arrivals import Recorder
from server.config import ServerConfig
from server.control import Control, log_loaded
from server.errors import BundleCorrupt, ConfigInvalid, ServeError
from server.metrics import Metrics
from server.ops import Ops
from server.registry import Registry
from server.repository import index
from server.repository.bundle import Bundle, open_each
from server.repository.sizes import FREE_BYTES, message_bytes
from server.rpc.listener import Listener
from server.runtime.session import runtime_version
from server.tasks.model import load
from server.versions import parse as parse_policy

log = logging.getLogger(__name__)

LAG_PERIOD_S = 0.5
QUIET_S, MAX_QUIET_S = 0.05, 1.0
"""How long nobody must have called before the listener stops, and how long to wait for that."""


class App:
    """One server process, from start to drained."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.metrics = Metrics()
        self._admission = Admission(config.max_inflight_requests, config.max_inflight_bytes)
        self._stopping = asyncio.Event()
        self._forced = asyncio.Event()
        found = index.scan(config.models, may_be_empty=config.model_control != "none")
        selected, missing = index.select(found, parse_policy(config.versions)[0])
        if missing and config.model_control == "none":
            raise ConfigInvalid("\n".join(f"--versions: {problem}" for problem in missing))
        for problem in missing:
            log.warning("a version is not there yet", extra={"reason": problem})
        self.registry = Registry(found, selected, self.metrics)
        recording = config.record_arrivals
        self._recorder = Recorder(Path(recording)) if recording else None
        self.control = Control(config, self.registry, self.metrics, found, self._recorder)
        self._bundles = self._open(selected)
        widest = self._widest()
        self.control.max_message_bytes = config.max_message_bytes or widest
        self.ops = Ops(
            config.ops_host,
            config.ops_port,
            self.metrics.registry,
            lambda: self.registry.is_ready,
        )
        self.listener = Listener(
            config,
            self.registry,
            self._admission,
            self.metrics,
            widest,
            control=self.control,
        )
        self.control.changed = self.listener.health.publish
        self.metrics.build_info.labels(distribution_version("heed"), runtime_version()).set(1)
        self.metrics.ready.set_function(lambda: float(self.registry.is_ready))
        self.metrics.inflight_requests.set_function(lambda: self._admission.num_inflight)

    def _open(self, selected: Sequence[index.Found]) -> list[Bundle]:
        """Verify the selected bundles; report every broken one at once."""
        bundles, problems = open_each(item.path for item in selected)
        for item in selected:
            if item.path in problems:
                self.registry.fail(item.name, item.version, problems[item.path])
        self._tolerate([*problems.values()], len(bundles))
        return bundles

    def _widest(self) -> int:
        """Return the bytes of the largest legal call of the models that serve, or may come to."""
        rows = self.config.max_request_sequences
        return max(
            # What may join later is not known yet.
            0 if self.config.model_control == "none" else FREE_BYTES,
            *(message_bytes(bundle.manifest, rows) for bundle in self._bundles),
            0,
        )

    def _tolerate(self, problems: Sequence[str], num_sound: int) -> None:
        if problems and not (self.config.skip_broken and num_sound):
            raise BundleCorrupt("\n".join(problems))
        for problem in problems:
            log.error("a bundle is skipped", extra={"reason": problem})

    async def start(self) -> None:
        """Listen, load the models, and take traffic.

        Raises:
            ServeError: an address that cannot be bound, a model that cannot be loaded.
        """
        await self.listener.start()
        await self._load()
        self.control.is_started = True
        await self.listener.health.publish()
        log.info(
            "serving",
            extra={
                "grpc": f"{self.config.host}:{self.listener.port}",
                "ops": f"{self.config.ops_host}:{self.ops.port}",
                "models": [entry.name for entry in self.registry.entries() if entry.model],
            },
        )

    async def _load(self) -> None:
        problems = []
        for bundle in self._bundles:
            manifest = bundle.manifest
            try:
                model = await asyncio.to_thread(
                    load, bundle, self.config, self.metrics, self._recorder
                )
            except ServeError as error:
                self.registry.fail(manifest.name, manifest.version, str(error))
                problems.append(str(error))
                continue
            self.registry.add(model)
            log_loaded(model)
        self._tolerate(problems, len(self.registry.models()))

    async def serve(self) -> int:
        """Serve until a stop signal and drain. Return the exit status: 0 if nobody was cut off."""
        periodic = [asyncio.create_task(self._measure_lag())]
        if self.config.model_control == "poll":
            periodic.append(asyncio.create_task(self.control.watch()))
        await self._stopping.wait()
        status = await self.drain()
        for task in periodic:
            task.cancel()
        await asyncio.gather(*periodic, return_exceptions=True)
        return status

    def watch_signals(self) -> None:
        """Let SIGTERM and SIGINT drain instead of kill, from before the first caller on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self._stopping.is_set():
            self._forced.set()
        self._stopping.set()

    async def drain(self) -> int:
        """Stop in the order that loses nobody, or at once on a second signal."""
        log.info("draining", extra={"inflight": self._admission.num_inflight})
        self.metrics.draining.set(1)
        self.registry.accepting = False
        await self.listener.health.leave()
        await self._unless_forced(asyncio.sleep(self.config.drain_delay_s))
        self._admission.close()
        await self.control.close()
        await self._unless_forced(self._admission.empty(), self.config.drain_grace_s)
        lost = self._admission.num_inflight
        # gRPC answers CANCELLED to a call that it has received and not handed over when it stops.
        # Refusing by hand until the callers are gone gives them UNAVAILABLE, which they may retry.
        await self._unless_forced(self._admission.quiet(QUIET_S), MAX_QUIET_S)
        # A finished call may still be on its way out: the listener stops with a grace of its own.
        await self.listener.stop(0.0 if lost else MAX_QUIET_S)
        for model in self.registry.models():
            model.close()
        if self._recorder is not None:
            self._recorder.close()
        self.ops.close()
        log.info("stopped", extra={"lost": lost})
        return 1 if lost else 0

    async def _unless_forced(
        self, work: Coroutine[Any, Any, None], limit_s: float | None = None
    ) -> None:
        """Wait for `work`, the limit, or a second signal, whichever comes first."""
        tasks = [asyncio.create_task(work), asyncio.create_task(self._forced.wait())]
        _, pending = await asyncio.wait(tasks, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()

    async def _measure_lag(self) -> None:
        """Observe how late the event loop runs a timer: every caller waits that much too."""
        while True:
            due = monotonic() + LAG_PERIOD_S
            await asyncio.sleep(LAG_PERIOD_S)
            self.metrics.event_loop_lag.observe(max(0.0, monotonic() - due))


def tune_process(config: ServerConfig) -> None:
    """Set what threads inherit and so must come before the first of them.

    Raises:
        ConfigInvalid: this system has no such scheduling policy.
    """
    if config.scheduling == "batch":
        if not hasattr(os, "SCHED_BATCH"):
            raise ConfigInvalid("--scheduling batch needs Linux; use --scheduling normal")
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


async def run(config: ServerConfig) -> int:
    """Run one server until it has drained. Prints one line on standard output when it is ready."""
    tune_process(config)
    app = App(config)
    app.watch_signals()
    try:
        await app.start()
        # Modules and models stay: without them a collection looks at the calls under way only.
        gc.freeze()
    except BaseException:
        await app.listener.stop(0)
        app.ops.close()
        raise
    print(
        f"heed ready grpc={config.host}:{app.listener.port} ops={config.ops_host}:{app.ops.port}",
        flush=True,
    )
    return await app.serve()
