"""Finished runs, read from their folders for a comparison without a server."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from loadtest.compare.bootstrap import Side
from loadtest.compare.build import Ran
from loadtest.compare.order import FEWEST_PAIRS
from loadtest.compare.sample import Sample
from loadtest.errors import RunFailed
from loadtest.record.calls import NotARecording, load
from loadtest.report.model import SCHEMA_VERSION, Report
from loadtest.scenario.schema import AnyScenario


def read(a: Sequence[Path], b: Sequence[Path]) -> tuple[list[Ran], list[str]]:
    """Return the runs in the order in which they were done, and what deserves a warning.

    The n-th folder of A is paired with the n-th of B.

    Raises:
        RunFailed: a folder is no finished run, or they cannot be compared.
    """
    if len(a) != len(b):
        raise RunFailed(f"{len(a)} runs of A and {len(b)} of B make no pairs: give as many of each")
    if len(a) < FEWEST_PAIRS:
        raise RunFailed(
            f"{len(a)} pairs are too few for an interval: give {FEWEST_PAIRS} runs of each or more"
        )
    if len({path.resolve() for path in (*a, *b)}) < len(a) + len(b):
        raise RunFailed("the same folder was given twice: every run counts once")
    sides: tuple[tuple[Side, Sequence[Path]], ...] = (("A", a), ("B", b))
    ran = [
        _read(folder, side, pair) for side, folders in sides for pair, folder in enumerate(folders)
    ]
    ran.sort(key=lambda one: one.report.started_at)
    _refuse_different(ran)
    return ran, _warnings(ran)


def _read(folder: Path, side: Side, pair: int) -> Ran:
    try:
        text = (folder / "report.json").read_bytes()
        report = msgspec.json.decode(text, type=Report)
        calls = load(folder / "calls.npz")
    except OSError as error:
        raise RunFailed(
            f"{error.filename}: {error.strerror}; give the folders that heed-load run wrote"
        ) from error
    except msgspec.DecodeError as error:
        raise RunFailed(
            f"{folder / 'report.json'} is not a report of this version: {error}"
        ) from error
    except NotARecording as error:
        raise RunFailed(str(error)) from error
    if report.schema_version != SCHEMA_VERSION:
        found = f"has schema {report.schema_version}, this reads {SCHEMA_VERSION}"
        raise RunFailed(f"{folder / 'report.json'} {found}")
    return Ran(
        pair=pair,
        side=side,
        folder=str(folder),
        attempts=1,
        report=report,
        sample=Sample.of(calls, report.measured_s),
    )


def _refuse_different(ran: Sequence[Ran]) -> None:
    """Runs of other loads differ for that reason alone."""
    first = _load(ran[0].report.scenario)
    for one in ran[1:]:
        other = _load(one.report.scenario)
        differing = [
            name for name in sorted({*first, *other}) if first.get(name) != other.get(name)
        ]
        if differing:
            raise RunFailed(
                f"{ran[0].folder} and {one.folder} ran different loads"
                f" ({', '.join(differing)} differ): compare runs of one scenario"
            )


def _load(scenario: AnyScenario) -> dict[str, object]:
    return {"kind": type(scenario).__name__, **msgspec.structs.asdict(scenario), "seed": None,
            "description": None}  # fmt: skip


def _warnings(ran: Sequence[Ran]) -> list[str]:
    warnings = []
    pairs = [[one for one in ran if one.pair == pair] for pair in range(len(ran) // 2)]
    unlike = sum(one.seed != other.seed for one, other in pairs)
    if unlike:
        warnings.append(
            f"{unlike} of {len(pairs)} pairs had different seeds, so different texts and arrivals"
        )
    first = [mine[0].side for mine in pairs]
    if abs(first.count("A") - first.count("B")) > 1 or _are_apart(ran):
        warnings.append(
            "the runs were not in the order ABBA: a machine that became slower or faster meanwhile"
            " looks like a difference"
        )
    if len({str(one.report.machine) for one in ran}) > 1:
        warnings.append("the runs come from different machines")
    return warnings


def _are_apart(ran: Sequence[Ran]) -> bool:
    """Return whether the runs of a pair did not follow each other."""
    places: dict[int, list[int]] = {}
    for place, one in enumerate(ran):
        places.setdefault(one.pair, []).append(place)
    return any(last - first > 1 for first, last in places.values())
