"""Is packing ever worse? Four kinds of load, each served by every policy that the server has."""

from itertools import chain
from pathlib import Path

import numpy as np

from loadtest import served
from loadtest.benchmarks.compare import Comparison, Figures, Side, interleave
from loadtest.benchmarks.runs import NUM_TEXTS, SEED, Bench, max_tokens, typical
from loadtest.scenario.lengths import Fixed
from loadtest.workload.texts import texts

POLICIES = {
    "packed": ("--batching", "packed"),
    "one at a time": ("--batching", "padded", "--max-batch-rows", "1"),
    "padded": ("--batching", "padded"),
    "sorted, padded": ("--batching", "sorted"),
}
"""Name -> the options of a server that works like this. The first is what is in question."""
SHORT, LONG = 8, 200
SHORT_ONES = 64
"""Between two of the longest, in the load that is meant to hurt."""


def policies(bench: Bench) -> list[Comparison]:
    """Compare packing with every other policy, under every kind of load."""
    with served.serve(bench.models, bench.folder / "first.log") as server:
        longest = max_tokens(server, bench.model)
    found = []
    for kind, lines in lengths(longest).items():
        path = bench.write(kind.partition(" ")[0], lines)
        sides: dict[str, Side] = {name: _side(bench, name, path) for name in POLICIES}
        found.append(interleave(f"{kind}, {bench.model}", sides, bench.pairs))
    return found


def lengths(longest: int) -> dict[str, list[str]]:
    """Return the texts of each kind of load, in the order they are sent."""
    random = np.random.default_rng(SEED)
    short = texts(Fixed(SHORT), NUM_TEXTS // 2, random)
    long = texts(Fixed(min(LONG, longest)), NUM_TEXTS // 2, random)
    return {
        "fixed 32": texts(Fixed(min(32, longest)), NUM_TEXTS, random),
        f"bimodal {SHORT} and {LONG}": list(chain.from_iterable(zip(short, long, strict=True))),
        "lognormal, 34 on average": texts(typical(longest), NUM_TEXTS, random),
        f"adversarial, one of {longest} to {SHORT_ONES} of {SHORT}": [
            *texts(Fixed(SHORT), SHORT_ONES, random),
            *texts(Fixed(longest), 1, random),
        ],
    }


def _side(bench: Bench, name: str, lines: Path) -> Side:
    def measure() -> Figures:
        # A server of its own each time: where weights come to lie in memory is luck, and two equal
        # servers that stay were seen to differ by 3 %, which is more than some policies do.
        with served.serve(bench.models, bench.folder / f"{name}.log", *POLICIES[name]) as server:
            found = bench.loaded(server, lines)
        return {
            "texts/s": found["answered_per_s"],
            "CPU ms per text": found["server_cpu_ms"],
            "p50, ms": found["answered_ms"]["p50"],
            "p99, ms": found["answered_ms"]["p99"],
        }

    return measure
