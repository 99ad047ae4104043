"""Runs that never happened, as they come from the fabric: rows from a simulated queue.

Each is a `Finished` to build a report from. The server has one run thread, first come first
served, log-normal service; the generator is a little late.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from loadtest.fabric.outcome import Finished, Plan, WorkerShare
from loadtest.record.calls import Calls
from loadtest.record.row import MISSING, ROW, WARMUP, Rows
from loadtest.scenario.lengths import Fixed, Listed
from loadtest.scenario.requests import Request
from loadtest.scenario.schema import (
    AnyScenario,
    Arrival,
    Closed,
    Offline,
    Open,
    Phase,
    Replay,
)
from loadtest.telemetry.samples import GpuSample, HostSample, ProcessSample, Telemetry

BEGAN_S = 1_790_000_000.25
HOSTILE = '<script>alert("x")</script> | `code` [link](http://evil.example) =1+1\nsecond line'
UNAVAILABLE, WRONG = 14, 100


def poisson(rate: float, from_s: float, to_s: float, seed: int = 1) -> np.ndarray:
    generator = np.random.default_rng(seed)
    count = generator.poisson(rate * (to_s - from_s))
    return np.sort(generator.uniform(from_s, to_s, count))


def queued(due_s: np.ndarray, service_s: np.ndarray) -> np.ndarray:
    """Return the seconds that each waits for a server that takes one at a time."""
    waits = np.zeros(len(due_s))
    free_s = 0.0
    for place, (due, service) in enumerate(zip(due_s, service_s, strict=True)):
        begun = max(due, free_s)
        waits[place] = begun - due
        free_s = begun + service
    return waits


def ns(seconds: np.ndarray) -> np.ndarray:
    return np.asarray(np.round(seconds * 1e9).astype(np.int64))


def rows(due_s: np.ndarray, warmup_s: float, mean_ms: float = 2.0, **columns: Any) -> Rows:
    """Return answered calls due at these instants; `columns` replace what is given."""
    generator = np.random.default_rng(7)
    count = len(due_s)
    made = np.zeros(count, ROW)
    service_s = generator.lognormal(np.log(mean_ms / 1000), 0.4, count)
    waits_s = queued(due_s, service_s)
    network_s = generator.gamma(4, 5e-5, count)
    lag_s = generator.gamma(2, 4e-5, count)
    made["index"] = np.arange(count)
    made["scheduled_ns"] = ns(due_s)
    made["sent_ns"] = ns(due_s + lag_s)
    made["done_ns"] = ns(due_s + lag_s + network_s + waits_s + service_s)
    made["first_ns"] = made["done_ns"]
    made["phase"] = np.where(due_s < warmup_s, WARMUP, 0)
    made["worker"] = made["index"] % 2
    made["texts"] = 1
    made["tokens"] = generator.integers(8, 90, count)
    made["response_bytes"] = 1536
    made["tokenize_ns"] = ns(service_s * 0.12)
    made["queue_ns"] = ns(waits_s)
    made["run_ns"] = ns(service_s * 0.8)
    made["total_ns"] = ns(waits_s + service_s)
    made["batch_sequences"] = 4
    made["batch_tokens"] = 200
    for name, values in columns.items():
        made[name] = values
    return made


def finished(scenario: AnyScenario, made: Rows, **changes: Any) -> Finished:
    from_ns = round(scenario.warmup_s * 1e9)
    last_s = max([made["done_ns"].max() / 1e9] if len(made) else [0.0])
    span_s = {Open: 0.0, Closed: 0.0}.get(type(scenario), last_s)
    if isinstance(scenario, Open):
        span_s = scenario.warmup_s + sum(phase.for_s for phase in scenario.stretches)
    if isinstance(scenario, Closed):
        span_s = scenario.warmup_s + scenario.duration_s
    probes = np.arange(0, span_s, 0.01)
    generator = np.random.default_rng(3)
    run = Finished(
        plan=Plan(name="server", scenario=scenario, target="127.0.0.1:8001", model="minilm"),
        calls=Calls(
            made, (probes * 1e9).astype(np.int64), generator.integers(20_000, 400_000, len(probes))
        ),
        began_s=BEGAN_S,
        measured_from_ns=from_ns,
        end_ns=round(span_s * 1e9),
        disturbances=(),
        errors={},
        shares=tuple(share(worker) for worker in range(2)),
        telemetry=telemetry(span_s),
    )
    return replace(run, **changes)


def share(worker: int) -> WorkerShare:
    return WorkerShare(
        worker=worker,
        host="bench-1",
        connections=4,
        channel_options={"grpc.use_local_subchannel_pool": 1},
        payloads=2048,
        cpu_s=3.5,
        most_in_flight=41,
        is_realtime=True,
        clock_error_s=0.0,
    )


def telemetry(span_s: float, gpus: tuple[int, ...] = ()) -> Telemetry:
    at = np.arange(0, span_s, 0.5).tolist()
    wave = np.sin(np.array(at) / 2) * 0.1

    def process(cores: float, mib: float) -> tuple[ProcessSample, ...]:
        return tuple(
            ProcessSample(
                at_s=now,
                cpu_s=cores * now + float(bump) / 8,
                rss_bytes=int((mib + now) * (1 << 20)),
                voluntary_switches=int(800 * now),
                involuntary_switches=int(35 * now),
                threads=12,
            )
            for now, bump in zip(at, wave, strict=True)
        )

    return Telemetry(
        generator=process(0.31, 120),
        server=process(0.92, 410),
        host=tuple(
            HostSample(now, 1.4 + float(b), 2600 + 500 * float(b))
            for now, b in zip(at, wave, strict=True)
        ),
        gpus=tuple(
            GpuSample(now, gpu, 60 + 100 * float(b), 9 << 30, 310 + 200 * float(b), 1700)
            for gpu in gpus
            for now, b in zip(at, wave, strict=True)
        ),
        server_source="listening at 127.0.0.1:8001 (pid 4711)",
    )


def steady() -> Finished:
    scenario = Open(
        description="Poisson arrivals", rate=200.0, duration_s=30.0, warmup_s=5.0, bound_ms=20.0
    )
    return finished(scenario, rows(poisson(200, 0, 35), 5.0))


def overload() -> Finished:
    scenario = Open(rate=700.0, duration_s=10.0, warmup_s=2.0, bound_ms=50.0)
    return finished(
        scenario,
        rows(poisson(700, 0, 12), 2.0),
        disturbances=("the safety stop of 8192 calls in flight was reached",),
    )


def steps(
    rates: tuple[float, ...] = (50, 100, 200, 300, 400, 450), for_s: float = 10.0
) -> Finished:
    phases = tuple(Phase(name=f"{rate:g}/s", for_s=for_s, rate=rate) for rate in rates)
    scenario = Open(description="Rate in steps", phases=phases, warmup_s=3.0)
    edges = 3.0 + for_s * np.arange(len(rates) + 1)
    due = [poisson(rates[0], 0, 3.0)]
    due += [poisson(rate, edges[i], edges[i + 1], i + 2) for i, rate in enumerate(rates)]
    due_s = np.concatenate(due)
    phase = np.searchsorted(edges, due_s, side="right") - 1
    return finished(scenario, rows(due_s, 3.0, phase=np.where(due_s < 3, WARMUP, phase)))


def mix() -> Finished:
    """Three kinds of calls, two per cent failing, some with a hostile text."""
    requests = (
        Request(weight=6.0),
        Request(
            rpc="rerank", model="a-cross-encoder-with-a-long-name", texts_per_call=8, weight=3.0
        ),
        Request(rpc="infer", model="tensors", lengths=Fixed(128)),
    )
    scenario = Open(
        rate=300.0, duration_s=20.0, warmup_s=2.0, requests=requests, max_error_rate=0.05
    )
    due_s = poisson(300, 0, 22)
    generator = np.random.default_rng(5)
    kind = generator.choice(3, len(due_s), p=[0.6, 0.3, 0.1])
    code = generator.choice([0, UNAVAILABLE, WRONG], len(due_s), p=[0.98, 0.015, 0.005])
    made = rows(due_s, 2.0, 1.5, request=kind, code=code, texts=np.where(kind == 1, 8, 1))
    for name in ("tokenize_ns", "queue_ns", "run_ns", "total_ns"):
        made[name] = np.where(code == 0, made[name], MISSING)
    errors = {
        f"UNAVAILABLE: {HOSTILE}": 61,
        "UNAVAILABLE: connection refused " + "x" * 300: 20,
        "WRONG_ANSWER: 7 vectors for 8 texts": 30,
    }
    return finished(scenario, made, errors=errors, telemetry=telemetry(22.0, gpus=(0, 1)))


def silent() -> Finished:
    """Nothing is answered at all."""
    scenario = Open(rate=100.0, duration_s=5.0, warmup_s=1.0)
    made = rows(poisson(100, 0, 6), 1.0, code=UNAVAILABLE, tokens=0)
    for name in ("tokenize_ns", "queue_ns", "run_ns", "total_ns"):
        made[name] = MISSING
    errors = {"UNAVAILABLE: connection refused": len(made)}
    return finished(scenario, made, errors=errors, telemetry=Telemetry(notes=("no server found",)))


def nothing() -> Finished:
    """Not even a call is sent."""
    scenario = Closed(in_flight=1, duration_s=1.0, warmup_s=0.0)
    return finished(scenario, np.zeros(0, ROW), shares=(), telemetry=Telemetry())


def stopped() -> Finished:
    """Stopped by hand before the measured time began."""
    scenario = Open(rate=100.0, duration_s=10.0, warmup_s=5.0, bound_ms=10.0)
    reason = ("stopped after 1 s",)
    made = rows(poisson(100, 0, 1), 5.0)
    return finished(scenario, made, end_ns=1_000_000_000, disturbances=reason)


def single() -> Finished:
    scenario = Open(rate=0.5, duration_s=2.0, warmup_s=0.0)
    return finished(scenario, rows(np.array([0.7]), 0.0), telemetry=Telemetry())


def offline() -> Finished:
    scenario = Offline(calls=5_000, in_flight=256, warmup_s=0.0)
    made = rows(np.zeros(5_000), 0.0)
    made["sent_ns"] = np.maximum(made["done_ns"] - 300_000_000, 0)
    return finished(scenario, made)


def closed() -> Finished:
    scenario = Closed(in_flight=4, duration_s=12.0, warmup_s=2.0)
    return finished(scenario, rows(np.arange(0, 14, 0.004), 2.0))


def streams() -> Finished:
    """Answers in several messages: the first comes before the end."""
    requests = (Request(rpc="embed-stream", texts_per_call=16),)
    scenario = Open(rate=40.0, duration_s=20.0, warmup_s=2.0, requests=requests)
    made = rows(poisson(40, 0, 22), 2.0, 8.0, texts=16)
    made["first_ns"] = made["sent_ns"] + (made["done_ns"] - made["sent_ns"]) // 3
    return finished(scenario, made)


def replay() -> Finished:
    """A recording, with lengths that came from a file."""
    due_s = np.concatenate([poisson(60, 0, 2), poisson(60, 2, 12, seed=2)])
    recorded = tuple(Arrival(float(at - 2), (12, 20)) for at in due_s[due_s >= 2])
    requests = (Request(lengths=Listed(tuple(range(1, 2000)))),)
    scenario = Replay(
        trace="/traces/monday.csv", warmup_s=2.0, recorded=recorded, requests=requests
    )
    return finished(scenario, rows(due_s, 2.0))


def big(calls: int = 200_000) -> Finished:
    scenario = Open(rate=calls / 100, duration_s=95.0, warmup_s=5.0)
    due_s = np.arange(calls) * (100 / calls)
    return finished(scenario, rows(due_s, 5.0, 0.1))
