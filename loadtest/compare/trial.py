"""How often a comparison is wrong on this machine: `python -m loadtest.compare.trial`.

Compares a stub server with itself again and again, and with one that is 5 % slower. The method is
right for this machine when at most 3 of 40 comparisons with itself see a difference, and at least
9 of 10 with the slower one do. Its runs are shorter than a VALID run may be, so that forty
comparisons take minutes, and too short to judge the generator by; every other rule holds.
"""

import argparse
import shlex
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from loadtest.compare import order
from loadtest.compare.bootstrap import Side
from loadtest.compare.build import Subject, build
from loadtest.compare.decision import Limits
from loadtest.compare.duel import Ring, fight
from loadtest.compare.servers import PORT, Server, ended_in_order
from loadtest.errors import RunFailed
from loadtest.fabric import greenlets
from loadtest.fabric.outcome import Plan
from loadtest.fabric.run import Fabric
from loadtest.scenario.schema import Closed

SAME: Final = 40
SLOWER: Final = 10
MOST_ALARMS: Final = 3
FEWEST_FOUND: Final = 9
"""Of ten."""
FEWEST_DECIDED: Final = 5
"""Of ten: what is never decided raises no false alarm either, and proves nothing."""
_STUB: Final = Path(__file__).parents[2] / "tests" / "integration" / "load_stub.py"
_READY_S: Final = 30.0
# In so short a run the 99th percentile of the generator's timers is about the latest of all.
_WAIVED: Final = frozenset({"duration", "lag"})
Verdicts = Counter[str]


def main() -> int:
    """Do the trial and print what came of it; 0 when the method was right."""
    arguments = _parser().parse_args()
    if not _STUB.exists():
        raise SystemExit(f"{_STUB} is missing: run this from a checkout")
    greenlets.install()
    begun_s = time.monotonic()
    with ended_in_order(), tempfile.TemporaryDirectory() as folder:
        try:
            same, slower = _trial(arguments, Path(folder))
        except RunFailed as error:
            raise SystemExit(str(error)) from error
    alarms, found = same["better"] + same["worse"], slower["worse"]
    _say(f"A against A: {_counts(same)}; {alarms} false alarms in {same.total()}")
    _say(
        f"A against {arguments.by:g} % slower: {_counts(slower)}; found {found} of {slower.total()}"
    )
    _say(f"took {(time.monotonic() - begun_s) / 60:.1f} min")
    decided = same["no difference"] + alarms
    if decided * SLOWER < FEWEST_DECIDED * same.total():
        _say(f"only {decided} of {same.total()} could be decided: this machine is too busy to tell")
        return 1
    is_right = alarms * SAME <= MOST_ALARMS * same.total()
    is_right &= found * SLOWER >= FEWEST_FOUND * slower.total()
    _say("right" if is_right else "WRONG")
    return 0 if is_right else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.compare.trial", description=(__doc__ or "").partition("\n")[0]
    )
    number, whole = float, int
    for name, kind, default, metavar, text in (
        ("--same", whole, SAME, "N", "comparisons of A with A"),
        ("--slower", whole, SLOWER, "N", "comparisons of A with the slower one"),
        ("--by", number, 5.0, "PERCENT", "how much slower its service is"),
        ("--pairs", whole, order.PAIRS, "N", "runs of each side in one comparison"),
        ("--seconds", number, 0.8, "S", "measured in each run"),
        ("--warmup", number, 0.1, "S", "before them"),
        ("--service-ms", number, 50.0, "MS", "what a call takes"),
        ("--in-flight", whole, 8, "N", "calls at the same time"),
    ):
        help_text = f"{text} (default {default:g})"
        parser.add_argument(name, type=kind, default=default, metavar=metavar, help=help_text)
    return parser


def _trial(arguments: argparse.Namespace, folder: Path) -> tuple[Verdicts, Verdicts]:
    """Return how often each verdict came: of the same, and of the slower one."""
    with ExitStack() as opened:
        # Two processes in A against A as well, as two builds would be.
        servers = [
            opened.enter_context(Server(side, _command(arguments.service_ms, factor), folder))
            for side, factor in (("A", 1.0), ("B", 1.0), ("C", 1 + arguments.by / 100))
        ]
        for server in servers:
            server.await_listening(time.monotonic() + _READY_S)
        a, same, slower = (_plan(arguments, server) for server in servers)
        fabric = opened.enter_context(Fabric(a))
        ring = Ring(
            fabric=fabric,
            folder=folder,
            say=lambda _: None,
            waived=_WAIVED,
            writes_reports=False,
        )
        alike = _compare(ring, {"A": a, "B": same}, arguments.same, arguments.pairs)
        return alike, _compare(ring, {"A": a, "B": slower}, arguments.slower, arguments.pairs)


def _command(service_ms: float, factor: float) -> str:
    options = f"--port {PORT} --service-ms {service_ms:g} --slower {factor:g}"
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(_STUB))} {options}"


def _plan(arguments: argparse.Namespace, server: Server) -> Plan:
    scenario = Closed(
        in_flight=arguments.in_flight,
        duration_s=arguments.seconds,
        warmup_s=arguments.warmup,
        # So that short runs have the samples for what they claim; throughput decides.
        percentile=50,
    )
    return Plan(
        name="trial", scenario=scenario, target=server.target, model="stub", server_pid=server.pid
    )


def _compare(ring: Ring, sides: dict[Side, Plan], times: int, pairs: int) -> Verdicts:
    counted: Verdicts = Counter()
    for place in range(times):
        ran = fight(ring, sides, order.turns(pairs, seed=1000 * place + 1))
        found = build(ran, Subject(name="trial", a="A", b="B", limits=Limits()))
        counted[found.verdict] += 1
        _say(f"{place + 1:3} of {times}: {found.verdict}: {found.text}")
    return counted


def _counts(counted: Verdicts) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in counted.most_common())


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
