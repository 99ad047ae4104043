"""From nothing to a report in one command: export, serve, ask, load, measure, drain.

Runs the three commands the way a user would, as processes. `python -m loadtest.demo --help`.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from rich.console import Console
from rich.table import Table

from loadtest import served
from loadtest.scenario.files import Overrides, load
from loadtest.workload.texts import write_texts
from protos.heed.v1 import text_pb2, text_pb2_grpc

MODEL = "minilm"
CLOSED, OPEN = "concurrency", "server"
"""The scenarios that are run."""
IN_FLIGHT = 64
OPEN_SHARE = 0.6
"""Rate of the open loop, as a share of what the closed loop reached: busy, not full."""
NUM_PAIRS = 4
SENTENCES = (
    "A man is eating pasta with tomato sauce.",
    "Someone enjoys a plate of spaghetti.",
    "The central bank raised interest rates again.",
    "Borrowing money has become more expensive this year.",
    "A kitten sleeps on the warm windowsill.",
    "The cat naps in the sun.",
    "How do I reset my password?",
    "I forgot my login credentials, what now?",
    "The train to Lyon leaves from platform four.",
    "Heavy rain is expected along the coast tonight.",
    "Tomorrow will be wet near the sea.",
    "She plays the violin in an orchestra.",
)

console = Console()


class DemoFailed(Exception):
    """A step did not do what it should; the text says which."""


@dataclass(frozen=True)
class Measured:
    """What the steps found."""

    manifest: dict[str, Any]
    closed: dict[str, Any]
    open: dict[str, Any]
    ceiling: dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; 0 when every step did what it should."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"), help="model repository")
    parser.add_argument("--out", type=Path, default=Path("reports/demo"), help="reports")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each load")
    options = parser.parse_args(arguments)
    try:
        measured = run(options.models, options.out, options.seconds)
    except (DemoFailed, served.StartFailed) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    console.print(table(measured))
    for name in (CLOSED, OPEN):
        console.print(f"report  {options.out / name / 'report.html'}", soft_wrap=True)
    return 0


def run(models: Path, out: Path, seconds: float) -> Measured:
    """Do every step in order and return what was measured."""
    step("export all-MiniLM-L6-v2 with fused attention")
    command("export", MODEL, "--task", "embed", "--out", str(models), "--force")
    step("serve it")
    with served.serve(models, out / "server.log") as server:
        console.print(f"gRPC {server.address}, metrics http://{server.ops}/metrics")
        step("embed a dozen sentences")
        nearest_pairs(server.address)
        step(f"closed loop, {IN_FLIGHT} calls in flight, {seconds:g} s")
        closed = measure(server, out, CLOSED, seconds, "--in-flight", str(IN_FLIGHT))
        rate = max(1.0, OPEN_SHARE * closed["throughput"]["requests_per_s"])
        step(f"open loop, Poisson arrivals at {rate:.0f} a second, {seconds:g} s")
        open_ = measure(server, out, OPEN, seconds, "--rate", f"{rate:.1f}")
        step("drain the server")
        if (status := server.stop()) != 0:
            raise DemoFailed(f"the server lost calls: exit status {status}, see {server.log}")
    step("measure the ceiling: the same texts in process, without gRPC")
    texts = out / "texts.txt"
    write_texts(load(CLOSED, Overrides()), sum(closed["codes"].values()), texts)
    bundle = models / MODEL / "1"
    ceiling = command("server", "bench", str(bundle), "--texts", str(texts), "--json")
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    return Measured(manifest, closed, open_, json.loads(ceiling))


def step(title: str) -> None:
    """Say what comes next."""
    console.rule(title, align="left")


def command(module: str, *arguments: str) -> str:
    """Run one of our commands and return its standard output."""
    ended = subprocess.run(  # noqa: S603  (our own commands)
        [sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True, check=False
    )
    if ended.returncode != 0:
        raise DemoFailed(f"'{module} {' '.join(arguments)}' ended with {ended.returncode}")
    return ended.stdout


def measure(
    server: served.Served, out: Path, scenario: str, seconds: float, *load: str
) -> dict[str, Any]:
    """Run a scenario and return its report. An INVALID verdict is a result, not a failure."""
    invalid = 3
    arguments = ["--target", server.address, "--model", MODEL, "--out", str(out / scenario)]
    arguments += ["--duration", str(seconds), "--warmup", str(min(3.0, seconds)), *load]
    ended = subprocess.run(  # noqa: S603  (our own command)
        [sys.executable, "-m", "loadtest", "run", scenario, *arguments], check=False
    )
    if ended.returncode not in (0, invalid):
        raise DemoFailed(f"the {scenario} scenario ended with {ended.returncode}")
    report: dict[str, Any] = json.loads((out / scenario / "report.json").read_text("utf-8"))
    return report


def nearest_pairs(address: str) -> None:
    """Embed the sentences in one call and print which are closest in meaning."""
    with grpc.insecure_channel(address) as channel:
        answer = text_pb2_grpc.TextServiceStub(channel).Embed(
            text_pb2.EmbedRequest(model=MODEL, texts=SENTENCES), timeout=30
        )
    vectors = np.array([one.values for one in answer.embeddings])
    cosine = vectors @ vectors.T
    pairs = sorted(combinations(range(len(SENTENCES)), 2), key=lambda pair: -cosine[pair])
    for first, second in pairs[:NUM_PAIRS]:
        console.print(f"{cosine[first, second]:.2f}  {SENTENCES[first]}  ~  {SENTENCES[second]}")


def table(measured: Measured) -> Table:
    """Return the figures that matter, one per row."""
    card, ceiling = measured.manifest["card"], measured.ceiling
    share = measured.closed["throughput"]["texts_per_s"] / ceiling["texts_per_s"]
    parity = max(one["difference"] for one in card["parity"])
    result = Table(title="heed, all-MiniLM-L6-v2, fp32", show_header=False)
    result.add_row("fused attention", f"{card['fused_nodes']}/{card['attention_modules']}")
    result.add_row("largest difference to PyTorch", f"{parity:.1e}", end_section=True)
    result.add_row("ceiling, in process", f"{ceiling['texts_per_s']:.0f} texts/s")
    result.add_row(f"served, {IN_FLIGHT} in flight", rate_of(measured.closed))
    result.add_row("share of the ceiling", f"{share:.0%}", end_section=True)
    for name, report in (("closed loop", measured.closed), ("open loop", measured.open)):
        result.add_row(f"{name} p50 / p95 / p99", latency_of(report))
    result.add_row("open loop, offered and answered", rate_of(measured.open), end_section=True)
    for name, report in (("closed", measured.closed), ("open", measured.open)):
        result.add_row(
            f"verdict, {name} loop", "VALID" if report["verdict"]["valid"] else "INVALID"
        )
    return result


def rate_of(report: dict[str, Any]) -> str:
    """Return texts answered per second."""
    return f"{report['throughput']['texts_per_s']:.0f} texts/s"


def latency_of(report: dict[str, Any]) -> str:
    """Return percentiles from the scheduled instant; a dash where there are too few samples."""
    latency = report["latency_us"]["from_schedule"]
    figures = (latency[name] for name in ("p50", "p95", "p99"))
    return " / ".join("-" if one is None else f"{one / 1000:.1f}" for one in figures) + " ms"


if __name__ == "__main__":
    sys.exit(main())
