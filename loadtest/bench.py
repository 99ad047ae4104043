"""Claims about speed as ratios from one interleaved run. `python -m loadtest.bench --help`.

`packing`: the same server twice, packing short texts into rows against padding batches of 16.
`ceiling`: served against in process, under load and unloaded. Both sides take turns, A B B A, so a
machine that gets slower meanwhile slows both; the figure is the median of the pairs' ratios.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import grpc
import numpy as np
from rich.console import Console
from rich.table import Table

from loadtest import served
from loadtest.scenario import Fixed, Overrides, load
from loadtest.workload import MAX_PAYLOADS, texts, write_texts
from protos.heed.v1 import text_pb2, text_pb2_grpc

IN_FLIGHT = 64
SCENARIO = """\
kind = "closed"
description = "A benchmark's load"
rpc = "embed"
users = {users}
duration_s = {duration_s}
warmup_s = 2.0
seed = 1
texts_per_call = 1
deadline_s = 30.0
percentile = 50.0

[lengths]
{lengths}
"""
LOADED_LENGTHS = 'distribution = "lognormal"\nmean = 34.0\nsigma = 0.8\nmax = 231'
UNLOADED_TOKENS = 16
UNLOADED_CALLS = 400

Figures = dict[str, float]
Side = Callable[[], Figures]


class BenchFailed(Exception):
    """A measurement could not be made; the text says which."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one comparison and print it."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("what", choices=("packing", "ceiling"))
    parser.add_argument("--models", type=Path, default=Path("models"), help="model repository")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each load")
    parser.add_argument("--pairs", type=int, default=4, help="how often each side is measured")
    options = parser.parse_args(arguments)
    run = packing if options.what == "packing" else ceiling
    try:
        with tempfile.TemporaryDirectory(prefix="heed-bench-") as folder:
            run(options, Path(folder))
    except (BenchFailed, served.StartFailed) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def packing(options: argparse.Namespace, folder: Path) -> None:
    """Compare packed with padded batches, served."""
    with ExitStack() as stack:
        packed, padded = (
            stack.enter_context(
                served.serve(options.models, folder / f"{kind}.log", "--batching", kind)
            )
            for kind in ("packed", "padded")
        )
        sides = {
            "packed": lambda: under_load(packed.address, options, folder),
            "padded, first come first served, 16 rows": lambda: under_load(
                padded.address, options, folder
            ),
        }
        show("packed against padded", interleave(sides, options.pairs))


def ceiling(options: argparse.Namespace, folder: Path) -> None:
    """Compare served with in process."""
    lines = folder / "texts.txt"
    loaded = scenario(folder, IN_FLIGHT, options.seconds, LOADED_LENGTHS)
    write_texts(load(loaded, Overrides.none()), MAX_PAYLOADS, lines)
    with served.serve(options.models, folder / "server.log") as server:
        sides = {
            f"served, {IN_FLIGHT} in flight": lambda: (
                under_load(server.address, options, folder) | unloaded(server.address, options)
            ),
            "in process": lambda: in_process(options, lines),
        }
        show("served against the ceiling", interleave(sides, options.pairs))


def interleave(sides: dict[str, Side], pairs: int) -> dict[str, list[Figures]]:
    """Measure the sides in turn, A B B A, and return the figures of each."""
    figures: dict[str, list[Figures]] = {name: [] for name in sides}
    for number in range(pairs):
        order = list(sides) if number % 2 == 0 else list(sides)[::-1]
        for name in order:
            figures[name].append(sides[name]())
            print(f"{name}: {figures[name][-1]}", file=sys.stderr)
    return figures


def show(title: str, figures: dict[str, list[Figures]]) -> None:
    """Print the median of each figure, and of the ratios or differences of its pairs."""
    (first, ours), (second, theirs) = figures.items()
    table = Table(title=f"{title}, {len(ours)} pairs, medians")
    for heading in ("figure", first, second, "ratio", "lowest", "highest"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for name in ours[0]:
        ratios = [one[name] / other[name] for one, other in zip(ours, theirs, strict=True)]
        medians = (median(one[name] for one in side) for side in (ours, theirs))
        cells = [f"{value:.2f}" for value in (*medians, median(ratios), min(ratios), max(ratios))]
        table.add_row(name, *cells)
    Console(width=120).print(table)


def scenario(folder: Path, users: int, duration_s: float, lengths: str) -> str:
    """Write a scenario and return its path."""
    path = folder / f"{users}-users.toml"
    text = SCENARIO.format(users=users, duration_s=duration_s, lengths=lengths)
    path.write_text(text, encoding="utf-8")
    return str(path)


def under_load(address: str, options: argparse.Namespace, folder: Path) -> Figures:
    """Return texts per second with many calls in flight."""
    loaded = scenario(folder, IN_FLIGHT, options.seconds, LOADED_LENGTHS)
    report = load_run(loaded, address, options.model, folder)
    return {"texts/s": report["throughput"]["texts_per_s"]}


def unloaded(address: str, options: argparse.Namespace) -> Figures:
    """Return the median latency of one text of 16 tokens on an idle server, by a plain client."""
    (text,) = texts(Fixed(UNLOADED_TOKENS), 1, np.random.default_rng(1))
    request = text_pb2.EmbedRequest(model=options.model, texts=[text])
    times = []
    with grpc.insecure_channel(address) as channel:
        stub = text_pb2_grpc.TextServiceStub(channel)
        for _ in range(UNLOADED_CALLS):
            started = perf_counter()
            stub.Embed(request, timeout=30)
            times.append(perf_counter() - started)
    return {"unloaded p50, ms": median(times) * 1000}


def in_process(options: argparse.Namespace, lines: Path) -> Figures:
    """Return the same figures for the bundle in process."""
    versions = sorted((options.models / options.model).iterdir(), key=lambda one: int(one.name))
    found = json.loads(
        output("server", "bench", str(versions[-1]), "--texts", str(lines), "--json")
    )
    return {"texts/s": found["texts_per_s"], "unloaded p50, ms": found["unloaded_p50_ms"]}


def load_run(path: str, address: str, model: str, folder: Path) -> dict[str, Any]:
    """Run a scenario and return its report."""
    out = folder / "report"
    output(
        *("loadtest", "run", path, "--target", address, "--model", model),
        *("--out", str(out), "--quiet"),
    )
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report


def output(module: str, *arguments: str) -> str:
    """Run one of our commands and return its standard output."""
    ended = subprocess.run(  # noqa: S603  (our own commands)
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        raise BenchFailed(f"'{module} {' '.join(arguments)}': {ended.stdout}{ended.stderr}")
    return ended.stdout


if __name__ == "__main__":
    sys.exit(main())
