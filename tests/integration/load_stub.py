"""A server that does nothing but take a constant time: something to measure a generator on.

Started as a process of its own (`python load_stub.py --service-ms 2`); prints its port, and a
second line at its 100th call (or `--announce N`). Serves one model, `stub`, by Embed, ModelInfer
and ModelMetadata.

Service takes place on paper: a call that arrives is given the instant at which its service ends,
from the instants before it alone, and its answer is held back until then. So a late timer makes
one answer late (some 0.1 ms) and never adds up. With `--queue` there is one server in order of
arrival, which makes Poisson arrivals an M/D/1 queue; without it, as many as there are calls.
`--record FILE` keeps when each call arrived, should leave and left (CLOCK_MONOTONIC, ns): written
at the end (SIGTERM) and when asked (SIGUSR1, answered by a line `recorded N`).
"""

import argparse
import asyncio
import ctypes
import heapq
import itertools
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import grpc
import numpy as np

from protos import inference_pb2, inference_pb2_grpc
from protos.heed.v1 import text_pb2, text_pb2_grpc

MODEL = "stub"
VALUES = 4
NS_PER_MS = 1_000_000
REALTIME = 2
SET_TIMER_SLACK = 29
TIMING_KEY = "server-timing"


class Timer:
    """Completes futures of an event loop at given instants, from a thread of its own.

    The loop's own timers are milliseconds; a thread that waits is woken within some 0.1 ms.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._new: SimpleQueue[tuple[int, int, asyncio.Future[None]]] = SimpleQueue()
        self._order = itertools.count()
        Thread(target=self._run, daemon=True).start()

    def at(self, instant_ns: int) -> "asyncio.Future[None]":
        """Return what is done from the instant on."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._new.put((instant_ns, next(self._order), future))
        return future

    def _run(self) -> None:
        # Linux lets a timer be 50 us late so as to wake up less often; only for this thread.
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(SET_TIMER_SLACK, 1, 0, 0, 0)
        waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        while True:
            left_s = (waiting[0][0] - time.monotonic_ns()) / 1e9 if waiting else None
            if left_s is not None and left_s <= 0:
                _, _, future = heapq.heappop(waiting)
                self._loop.call_soon_threadsafe(_finish, future)
                continue
            try:
                heapq.heappush(waiting, self._new.get(timeout=left_s))
            except Empty:
                continue


def _finish(future: "asyncio.Future[None]") -> None:
    if not future.done():  # a caller that went away cancelled it
        future.set_result(None)


class Service:
    """What a call lives through here, and the record of it."""

    def __init__(self, options: argparse.Namespace) -> None:
        slow_ms = options.service_ms if options.slow_ms is None else options.slow_ms
        self._times_ns = [
            round(each * options.slower * NS_PER_MS) for each in (options.service_ms, slow_ms)
        ]
        self._options = options
        self._timer = Timer(asyncio.get_running_loop())
        self._free_ns = 0
        self._arrived = 0
        self._calls: list[tuple[int, int, int]] = []

    async def serve(self) -> text_pb2.Timings:
        """Wait as long as the service takes; return the account of it."""
        arrived_ns = time.monotonic_ns()
        self._arrived += 1
        if self._arrived == self._options.announce:
            say(f"call {self._arrived}")
        service_ns = self._times_ns[self._arrived % 2]
        begun_ns = max(arrived_ns, self._free_ns) if self._options.queue else arrived_ns
        self._free_ns = leaves_ns = begun_ns + service_ns
        if leaves_ns > arrived_ns:
            await self._timer.at(leaves_ns)
        left_ns = time.monotonic_ns()
        if self._options.record:
            self._calls.append((arrived_ns, leaves_ns, left_ns))
        total_ns = left_ns - arrived_ns
        if self._options.queue:
            queue_ns = begun_ns - arrived_ns
            return text_pb2.Timings(queue_ns=queue_ns, run_ns=service_ns, total_ns=total_ns)
        return text_pb2.Timings(
            tokenize_ns=service_ns // 10,
            queue_ns=service_ns // 5,
            run_ns=service_ns // 2,
            total_ns=total_ns,
        )

    def save(self, path: Path) -> int:
        """Write what was recorded, by arrival; return how many calls that is."""
        calls = np.array(sorted(self._calls), np.int64).reshape(-1, 3)
        np.savez(path, arrived_ns=calls[:, 0], leaves_ns=calls[:, 1], left_ns=calls[:, 2])
        return len(calls)


class Text(text_pb2_grpc.TextServiceServicer):
    def __init__(self, service: Service) -> None:
        self._service = service

    async def Embed(  # noqa: N802  the name of the call
        self,
        request: text_pb2.EmbedRequest,
        context: "grpc.aio.ServicerContext[text_pb2.EmbedRequest, text_pb2.EmbedResponse]",
    ) -> text_pb2.EmbedResponse:
        if request.model != MODEL:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.model}")
        timings = await self._service.serve()
        return text_pb2.EmbedResponse(
            model=request.model,
            embeddings=[
                text_pb2.Embedding(values=[0.5] * VALUES, num_tokens=len(text.split()) + 2)
                for text in request.texts
            ],
            timings=timings,
        )


class Inference(inference_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, service: Service) -> None:
        self._service = service

    async def ModelMetadata(  # noqa: N802  the name of the call
        self,
        request: inference_pb2.ModelMetadataRequest,
        context: "grpc.aio.ServicerContext[inference_pb2.ModelMetadataRequest, inference_pb2.ModelMetadataResponse]",  # noqa: E501
    ) -> inference_pb2.ModelMetadataResponse:
        await _known(request.name, context)
        tensor = inference_pb2.ModelMetadataResponse.TensorMetadata
        return inference_pb2.ModelMetadataResponse(
            name=MODEL,
            versions=["1"],
            platform="stub",
            inputs=[tensor(name="input_ids", datatype="INT64", shape=[-1, -1])],
            outputs=[tensor(name="embedding", datatype="FP32", shape=[-1, VALUES])],
        )

    async def ModelInfer(  # noqa: N802  the name of the call
        self,
        request: inference_pb2.ModelInferRequest,
        context: "grpc.aio.ServicerContext[inference_pb2.ModelInferRequest, inference_pb2.ModelInferResponse]",  # noqa: E501
    ) -> inference_pb2.ModelInferResponse:
        await _known(request.model_name, context)
        timings = await self._service.serve()
        context.set_trailing_metadata(((TIMING_KEY, timing_text(timings)),))
        rows = request.inputs[0].shape[0] if request.inputs else 1
        output = inference_pb2.ModelInferResponse.InferOutputTensor(
            name="embedding", datatype="FP32", shape=[rows, VALUES]
        )
        return inference_pb2.ModelInferResponse(
            model_name=MODEL,
            model_version="1",
            outputs=[output],
            raw_output_contents=[np.full((rows, VALUES), 0.5, np.float32).tobytes()],
        )


async def _known(model: str, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
    if model != MODEL:
        await context.abort(grpc.StatusCode.NOT_FOUND, f"no model {model}")


def timing_text(timings: text_pb2.Timings) -> str:
    """Return an account as heed sends it with ModelInfer."""
    return (
        f"tokenize;dur={timings.tokenize_ns / NS_PER_MS:.3f}, "
        f"queue;dur={timings.queue_ns / NS_PER_MS:.3f}, "
        f"run;dur={timings.run_ns / NS_PER_MS:.3f}, total;dur={timings.total_ns / NS_PER_MS:.3f}"
    )


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def serve(options: argparse.Namespace) -> None:
    if options.realtime:
        # Above the generator, which would otherwise keep it from noting when a call arrived.
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(REALTIME))
    service = Service(options)
    server = grpc.aio.server()
    text_pb2_grpc.add_TextServiceServicer_to_server(Text(service), server)
    inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Inference(service), server)
    port = server.add_insecure_port(f"127.0.0.1:{options.port}")
    await server.start()
    say(str(port))
    if options.record is not None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        loop.add_signal_handler(
            signal.SIGUSR1, lambda: say(f"recorded {service.save(options.record)}")
        )
        await ended.wait()
        await server.stop(0)
        service.save(options.record)
    else:
        await server.wait_for_termination()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--service-ms", type=float, default=1.0)
    # The other half of the calls, when both halves shall differ.
    parser.add_argument("--slow-ms", type=float)
    # Both service times by this factor: what a comparison should find.
    parser.add_argument("--slower", type=float, default=1.0)
    # One call at a time, in order of arrival.
    parser.add_argument("--queue", action="store_true")
    parser.add_argument("--record", type=Path)
    parser.add_argument("--announce", type=int, default=100)
    parser.add_argument("--realtime", action="store_true")
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(serve(parser.parse_args()))
