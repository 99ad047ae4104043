"""Several servers on one port: shares the cores, starts them, keeps them alive, stops them.

Each worker is a process of its own, started afresh and not forked: the threads of ONNX Runtime and
gRPC do not survive a fork. The system spreads connections over their sockets. This process serves
no calls; it answers the operators' port for all of them.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from http import HTTPStatus
from time import monotonic

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from server.config import ServerConfig, usable_cores
from server.errors import ConfigInvalid, WorkerFailed
from server.exposition import merge
from server.metrics import WorkerMetrics
from server.ops import Ops
from server.shares import reserved, shares
from server.worker import Ended, Worker

log = logging.getLogger(__name__)

FAILED, USAGE = 1, 2
"""Exit statuses of a server that could not serve; 2 blames its options."""

FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.5, 30.0
"""How long to wait before a worker is started again: doubled each time it ends soon."""
STEADY_S = 60.0
"""A worker that ran this long has not ended soon."""


def run(config: ServerConfig) -> int:
    """Serve with `config.workers` processes until they have drained.

    Prints one line on standard output when all are ready. Return the exit status: 0 if every
    worker drained, 1 if one was lost while draining.

    Raises:
        ConfigInvalid: options that do not go together, an address that cannot be bound.
        WorkerFailed: a worker could not start.
    """
    return asyncio.run(_run(config))


async def _run(config: ServerConfig) -> int:
    check(config)
    with ExitStack() as held:
        port = held.enter_context(reserved(config.host, config.port))
        supervisor = Supervisor(replace(config, port=port))
        held.callback(supervisor.close)
        return await supervisor.run()


def check(config: ServerConfig) -> None:
    """Refuse more workers than this machine can serve.

    Raises:
        ConfigInvalid: says how many are possible.
    """
    num, cores = config.workers, len(usable_cores())
    problems = []
    if not sys.platform.startswith("linux"):
        problems.append("--workers needs Linux, which spreads connections over sockets")
    if num > cores:
        problems.append(f"--workers {num}: only {cores} cores for them; use at most {cores}")
    elif num > config.threads:
        problems.append(
            f"--workers {num} with --threads {config.threads}: each worker runs at least one "
            "thread; use fewer workers"
        )
    if problems:
        raise ConfigInvalid("\n".join(problems))


class Supervisor:
    """Starts the workers, starts them again, and stops them."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._stopping = asyncio.Event()
        self._workers = [
            Worker(index, own, cores)
            for index, (own, cores) in enumerate(shares(config, usable_cores()))
        ]
        self._askers = ThreadPoolExecutor(len(self._workers), "ask")
        self._metrics = WorkerMetrics(range(len(self._workers)))
        self._metrics.registry.register(_Merged(self))
        self._ops = Ops(
            config.ops_host, config.ops_port, self._metrics.registry, self._takes_traffic
        )

    def close(self) -> None:
        """Free the operators' port."""
        self._ops.close()
        self._askers.shutdown()

    async def run(self) -> int:
        """Serve until a stop signal, drain, and return the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        kept = [asyncio.create_task(self._keep(worker)) for worker in self._workers]
        try:
            await self._until_ready(kept)
            drained = await asyncio.gather(*kept)
        finally:
            self._stopping.set()
            for worker in self._workers:
                worker.stop(signal.SIGKILL)  # only after a failure are there any left
            await asyncio.gather(*kept, return_exceptions=True)
        log.info("stopped", extra={"drained": sum(drained), "workers": len(drained)})
        return 0 if all(drained) else FAILED

    async def _until_ready(self, kept: Iterable["asyncio.Task[bool]"]) -> None:
        ready = asyncio.create_task(self._all_ready())
        try:
            # Nobody who is kept ends before the stop signal, unless the start failed.
            await asyncio.wait([ready, *kept], return_when=asyncio.FIRST_COMPLETED)
        finally:
            was_ready = ready.done()
            ready.cancel()
        if was_ready:
            print(
                f"heed ready grpc={self._config.host}:{self._config.port} "
                f"ops={self._config.ops_host}:{self._ops.port}",
                flush=True,
            )

    async def _all_ready(self) -> bool:
        return all([await worker.is_ready.wait() for worker in self._workers])

    def _stop(self) -> None:
        """Pass each stop signal on: the second one makes workers stop waiting."""
        if not self._stopping.is_set():
            log.info("draining")
        self._stopping.set()
        for worker in self._workers:
            worker.stop()

    async def _keep(self, worker: Worker) -> bool:
        """Keep a worker running until the stop signal. Return whether it drained.

        Raises:
            ConfigInvalid, WorkerFailed: the first start failed.
        """
        backoff_s = FIRST_BACKOFF_S
        is_first = True
        while True:
            started = monotonic()
            ended = await worker.run()
            if self._stopping.is_set():
                # One that was stopped before it was ready had no callers to lose.
                return ended.status == 0 or (
                    not ended.was_ready and ended.status == -signal.SIGTERM
                )
            if is_first and not ended.was_ready:
                raise _start_failure(worker, ended)
            is_first = False
            if monotonic() - started >= STEADY_S:
                backoff_s = FIRST_BACKOFF_S
            self._metrics.restarts.labels(str(worker.index)).inc()
            log.error(
                "a worker ended and is started again",
                extra={
                    "worker": worker.index,
                    "status": ended.status,
                    "reason": " ".join(ended.complaints),
                    "after_s": backoff_s,
                },
            )
            if await self._stopped_within(backoff_s):
                return True  # it was gone before, and its callers with it
            backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _takes_traffic(self) -> bool:
        return not self._stopping.is_set() and all(
            self._askers.map(lambda worker: worker.takes_traffic, self._workers)
        )

    def expositions(self) -> dict[str, str]:
        """Return the metrics of every worker that answers, by its number."""
        answers = self._askers.map(lambda worker: worker.ask("/metrics"), self._workers)
        return {
            str(worker.index): text
            for worker, (status, text) in zip(self._workers, answers, strict=True)
            if status == HTTPStatus.OK
        }


class _Merged(Collector):
    """The metrics of all workers, asked for at each scrape."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def collect(self) -> Iterable[Metric]:
        return merge(self._supervisor.expositions())


def _start_failure(worker: Worker, ended: Ended) -> ConfigInvalid | WorkerFailed:
    reason = "\n".join(ended.complaints)
    if ended.status == USAGE and reason:
        return ConfigInvalid(reason)
    return WorkerFailed(reason or f"worker {worker.index} ended with status {ended.status}")
