"""A light generator for benchmarks: one text a call, bodies built before, no locust and no gevent.

`python -m loadtest.benchmarks.flood --help`. About a tenth of a millisecond of CPU per call, in a
process of its own, so that what it costs is known and its GIL is nobody else's. `heed-load` judges
a server and draws; this only counts, and trusts whoever calls it to know the server. It shares no
code of sending with `heed-load`, so that each can accuse the other.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from threading import Event, Lock
from time import perf_counter, process_time, sleep
from typing import Any

import grpc
import psutil

from loadtest.arrivals.process import Piece, poisson
from loadtest.benchmarks.figures import OK, Ended, Figures, Window, figures
from loadtest.sender.channel import CHANNEL_OPTIONS
from protos.heed.v1 import text_pb2

EMBED = "/heed.v1.TextService/Embed"

GRACE_S = 10.0
"""After the last deadline, for the ends that are still on their way."""


@dataclass(frozen=True, slots=True)
class Load:
    """What to send. Either so many calls in flight, or so many a second at Poisson's instants."""

    target: str
    bodies: Sequence[bytes]
    seconds: float
    warmup_s: float
    deadline_s: float
    in_flight: int = 0
    rate: float = 0.0
    """Calls per second; 0 keeps `in_flight` in flight instead."""
    seed: int = 1
    method: str = EMBED


class Flood:
    """One load on one channel. Callbacks of gRPC's thread record how calls end."""

    def __init__(self, load: Load, cpu_s: Callable[[], float]) -> None:
        """Connect. `cpu_s` tells the CPU seconds of the server so far."""
        self._load = load
        self._cpu_s = cpu_s
        self._channel = grpc.insecure_channel(load.target, options=list(CHANNEL_OPTIONS.items()))
        self._call: Any = self._channel.unary_unary(load.method)
        self._numbers = count()
        self._ended: list[Ended] = []
        self._lags_s: list[tuple[float, float]] = []
        self._open = 0
        self._lock = Lock()
        self._idle = Event()
        self._began = 0.0

    def run(self) -> Figures:
        """Send, wait for the end of every call, and return what happened."""
        load = self._load
        with self._channel:
            grpc.channel_ready_future(self._channel).result(timeout=GRACE_S)
            self._began = perf_counter()
            used: list[tuple[float, float]] = []
            if load.rate:
                self._scheduled(used)
            elif load.in_flight == 1:
                self._alone(used)
            else:
                self._closed(used)
        (ours, theirs), (ours_after, theirs_after) = used
        window = Window(load.warmup_s, load.seconds, load.deadline_s, by_due=load.rate > 0)
        used_s = (ours_after - ours, theirs_after - theirs)
        return figures(window, self._ended, self._lags_s, used_s)

    def _now(self) -> float:
        return perf_counter() - self._began

    def _body(self) -> bytes:
        bodies = self._load.bodies
        return bodies[next(self._numbers) % len(bodies)]

    def _used(self) -> tuple[float, float]:
        return process_time(), self._cpu_s()

    def _alone(self, used: list[tuple[float, float]]) -> None:
        """One blocking call after the other, as a caller who is alone would make them."""
        load = self._load
        warm_until, until = load.warmup_s, load.warmup_s + load.seconds
        while (now := self._now()) < until:
            if now >= warm_until and not used:
                used.append(self._used())
            code = OK
            try:
                self._call(self._body(), timeout=load.deadline_s)
            except grpc.RpcError as error:
                code = error.code().name
            self._ended.append(Ended(now, self._now(), code))
        used.append(self._used())

    def _closed(self, used: list[tuple[float, float]]) -> None:
        """Every end starts the next call, on gRPC's own thread."""
        load = self._load
        until = load.warmup_s + load.seconds

        def again() -> None:
            if self._now() < until:
                self._send(self._now(), again)

        for _ in range(load.in_flight):
            self._send(self._now(), again)
        sleep(load.warmup_s)
        used.append(self._used())
        sleep(max(0.0, until - self._now()))
        used.append(self._used())
        self._drain()

    def _scheduled(self, used: list[tuple[float, float]]) -> None:
        """Send each call at its instant, or at once when that has passed."""
        load = self._load
        span_s = load.warmup_s + load.seconds
        for due_s in poisson([Piece(span_s, load.rate, load.rate)], load.seed).tolist():
            self._wait_until(due_s)
            if due_s >= load.warmup_s and not used:
                used.append(self._used())
            self._lags_s.append((due_s, self._now() - due_s))
            self._send(due_s)
        self._wait_until(span_s)
        used.extend([self._used()] * (2 - len(used)))
        self._drain()

    def _wait_until(self, instant_s: float) -> None:
        if (left_s := instant_s - self._now()) > 0:
            sleep(left_s)

    def _send(self, due_s: float, then: Callable[[], None] | None = None) -> None:
        with self._lock:
            self._open += 1
        future = self._call.future(self._body(), timeout=self._load.deadline_s)

        def ended(done: Any) -> None:  # noqa: ANN401  (its class is private)
            self._ended.append(Ended(due_s, self._now(), done.code().name))
            if then is not None:
                then()
            with self._lock:
                self._open -= 1
                if not self._open:
                    self._idle.set()

        future.add_done_callback(ended)

    def _drain(self) -> None:
        """Wait for the end of every call; each has a deadline."""
        end = self._now() + self._load.deadline_s + GRACE_S
        while True:
            with self._lock:
                if not self._open:
                    return
                self._idle.clear()
            if not self._idle.wait(max(0.0, end - self._now())):
                raise TimeoutError(f"{self._open} calls did not end by their deadlines")


def cpu_clock(pid: int) -> Callable[[], float]:
    """Return what tells the CPU seconds of a process and its children so far; 0 for pid 0."""
    if not pid:
        return lambda: 0.0
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]

    def used_s() -> float:
        times = [process.cpu_times() for process in processes]
        return float(sum(one.user + one.system for one in times))

    return used_s


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one load and print its figures."""
    parser = argparse.ArgumentParser(prog="loadtest.benchmarks.flood", description=__doc__)
    parser.add_argument("--target", required=True, help="HOST:PORT of the server")
    parser.add_argument("--model", required=True, help="which model embeds")
    parser.add_argument("--texts", type=Path, required=True, help="file with one text a line")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--in-flight", type=int, default=0, help="calls in flight; 1 blocks on each")
    kind.add_argument("--rate", type=float, default=0.0, help="calls per second, as Poisson's")
    parser.add_argument("--seconds", type=float, default=10.0, help="time measured")
    parser.add_argument("--warmup", type=float, default=1.0, help="seconds before that")
    parser.add_argument("--deadline", type=float, default=30.0, help="seconds for each call")
    parser.add_argument("--seed", type=int, default=1, help="of the arrivals")
    parser.add_argument("--server-pid", type=int, default=0, help="whose CPU time to count")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    texts = options.texts.read_text(encoding="utf-8").splitlines()
    load = Load(
        target=options.target,
        bodies=[
            text_pb2.EmbedRequest(model=options.model, texts=[text]).SerializeToString()
            for text in texts
        ],
        seconds=options.seconds,
        warmup_s=options.warmup,
        deadline_s=options.deadline,
        in_flight=options.in_flight,
        rate=options.rate,
        seed=options.seed,
    )
    found = asdict(Flood(load, cpu_clock(options.server_pid)).run())
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:15} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
