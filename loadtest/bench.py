"""Claims about speed as ratios from one interleaved run. `python -m loadtest.bench --help`.

`packing`: the same server twice, packing short texts into rows against padding batches of 16.
`ceiling`: served against in process, under load and unloaded.
`policies`: packing against every other way to batch, under loads that suit each.
`overload`: three times the peak, with deadlines: what is answered in time, how soon the rest is
refused, and how the server is afterwards.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from loadtest import served
from loadtest.benchmarks.ceiling import ceiling, packing
from loadtest.benchmarks.compare import BenchFailed, Comparison, show
from loadtest.benchmarks.overload import overload
from loadtest.benchmarks.policies import policies
from loadtest.benchmarks.runs import Bench

Benchmark = Callable[[Bench], list[Comparison]]
BENCHMARKS: dict[str, Benchmark] = {
    "packing": packing,
    "ceiling": ceiling,
    "policies": policies,
    "overload": overload,
}
SECONDS = {"overload": 60.0}
PAIRS = {"overload": 2}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one benchmark for each model and print it."""
    options = _parser().parse_args(arguments)
    found: list[Comparison] = []
    try:
        for model in options.model or ["minilm"]:
            with tempfile.TemporaryDirectory(prefix="heed-bench-") as folder:
                bench = Bench(
                    models=options.models,
                    model=model,
                    seconds=options.seconds or SECONDS.get(options.what, 10.0),
                    pairs=options.pairs or PAIRS.get(options.what, 4),
                    deadline_s=options.deadline_ms / 1000,
                    folder=Path(folder),
                )
                found += BENCHMARKS[options.what](bench)
    except (BenchFailed, served.StartFailed) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps([comparison.as_json() for comparison in found]))
        return 0
    for comparison in found:
        show(comparison)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=BENCHMARKS)
    parser.add_argument("--models", type=Path, default=Path("models"), help="model repository")
    parser.add_argument(
        "--model", action="append", help="which embeds; may be given again. Default: minilm."
    )
    parser.add_argument(
        "--seconds", type=float, help="length of each load. Default: 10, overload 60."
    )
    parser.add_argument(
        "--pairs", type=int, help="how often each side is measured. Default: 4, overload 2."
    )
    parser.add_argument(
        "--deadline-ms", type=float, default=0.0,
        help="of each call under overload. Default: 250, or 20 times what one takes alone.",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())
