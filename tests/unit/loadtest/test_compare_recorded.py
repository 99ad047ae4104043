"""Comparisons of finished runs, from folders to page. The runs come from a simulated queue."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from finished_runs import BEGAN_S, finished, poisson, rows

from loadtest.compare import page
from loadtest.compare.build import Ran, Subject, build
from loadtest.compare.decision import Limits
from loadtest.compare.model import Comparison
from loadtest.compare.recorded import read
from loadtest.errors import RunFailed
from loadtest.fabric.outcome import Finished
from loadtest.report.build import build as build_report
from loadtest.report.plot.style import SENTINEL
from loadtest.report.write import encode
from loadtest.scenario.schema import Closed, Open

SUBJECT = Subject(name="server", a="one", b="<two>", limits=Limits())


def opened(seed: int, factor: float, **changes: object) -> Finished:
    scenario = Open(rate=150.0, duration_s=6.0, warmup_s=0.5, percentile=90, seed=seed)
    made = rows(poisson(150, 0, 6.5, seed), 0.5)
    made["done_ns"] += ((made["done_ns"] - made["scheduled_ns"]) * (factor - 1)).astype(np.int64)
    made["phase"] = np.where(made["scheduled_ns"] < 500_000_000, -1, 0)
    return replace(finished(scenario, made), **changes)  # type: ignore[arg-type]


def closed(seed: int, factor: float) -> Finished:
    scenario = Closed(in_flight=4, duration_s=6.0, warmup_s=0.0, percentile=90, seed=seed)
    made = rows(np.arange(0, 6, 0.004 * factor), 0.0)
    return finished(scenario, made)


def recorded(folder: Path, runs: list[tuple[str, Finished]]) -> dict[str, list[Path]]:
    """Write runs one after the other; return the folders of each side."""
    sides: dict[str, list[Path]] = {"A": [], "B": []}
    for place, (side, run) in enumerate(runs):
        made = replace(run, began_s=BEGAN_S + 10 * place)
        path = folder / f"{place:02d}-{side}"
        path.mkdir(parents=True)
        # Of a report's files only these two are read.
        (path / "report.json").write_bytes(encode(build_report(made)))
        made.calls.save(path / "calls.npz", made.began_s)
        sides[side].append(path)
    return sides


def abba(slower: float, pairs: int = 4) -> list[tuple[str, Finished]]:
    order = [side for pair in range(pairs) for side in ("BA" if pair % 2 else "AB")]
    factors = {"A": 1.0, "B": slower}
    return [(side, opened(place // 2, factors[side])) for place, side in enumerate(order)]


def compared(folder: Path, runs: list[tuple[str, Finished]]) -> tuple[Comparison, list[Ran]]:
    sides = recorded(folder, runs)
    ran, warnings = read(sides["A"], sides["B"])
    return build(ran, replace(SUBJECT, warnings=tuple(warnings))), ran


def test_recorded_runs_are_compared(tmp_path: Path) -> None:
    found, ran = compared(tmp_path, abba(1.1))

    assert "".join(one.side for one in ran) == "ABBAABBA"
    assert found.warnings == ()
    assert (found.verdict, found.pairs) == ("worse", 4)
    decides = found.metrics[0]
    assert (decides.name, decides.decides) == ("p90", True)
    assert decides.ratio == pytest.approx(1.1, rel=0.01)
    # Same arrivals on both sides, each call 10 % slower: nothing is left to chance.
    assert decides.low == pytest.approx(1.1, rel=0.01)
    assert found.text.startswith("p90 of B is 10 % higher")
    assert [run.metrics["p90"] is not None for run in found.runs] == [True] * 8


def test_the_same_is_no_difference(tmp_path: Path) -> None:
    found, _ = compared(tmp_path, abba(1.0))

    assert found.verdict == "no difference"
    assert found.advice == ""


def test_closed_loops_are_compared_by_throughput(tmp_path: Path) -> None:
    runs = [(side, closed(place // 2, 1.0 if side == "A" else 0.9)) for place, side in
            enumerate("ABBAABBA")]  # fmt: skip

    found, _ = compared(tmp_path, runs)

    assert (found.metrics[0].name, found.verdict) == ("throughput", "better")
    assert found.metrics[0].ratio == pytest.approx(1 / 0.9, rel=0.01)
    assert found.metrics[0].a == pytest.approx(250, rel=0.02)


def test_one_invalid_run_makes_the_comparison_invalid(tmp_path: Path) -> None:
    runs = abba(1.0)
    runs[3] = ("A", replace(runs[3][1], disturbances=("a worker was lost",)))

    found, ran = compared(tmp_path, runs)

    assert found.verdict == "INVALID"
    assert "1 run was INVALID; the run of A in pair 2, seed 1: a worker was lost" in found.text
    assert found.metrics == ()
    assert "a worker was lost" in page.html(found, ran)


def test_a_comparison_that_ended_with_its_first_run_has_a_page(tmp_path: Path) -> None:
    runs = abba(1.0)
    runs[0] = ("A", replace(runs[0][1], disturbances=("a worker was lost",)))
    _, ran = compared(tmp_path, runs)

    found = build(ran[:1], SUBJECT)

    assert found.verdict == "INVALID"
    assert "a worker was lost" in page.html(found, ran[:1])
    assert "a worker was lost" in page.markdown(found)


def test_runs_apart_and_with_other_seeds_are_warned_of(tmp_path: Path) -> None:
    runs = [("A", opened(place, 1.0)) for place in range(4)]
    runs += [("B", opened(place + 9, 1.0)) for place in range(4)]

    found, _ = compared(tmp_path, runs)

    assert [warning.partition(" ")[0] for warning in found.warnings] == ["4", "the"]
    assert "not in the order ABBA" in found.warnings[1]


def test_different_loads_are_refused(tmp_path: Path) -> None:
    runs = abba(1.0)
    scenario = msgspec.structs.replace(runs[2][1].plan.scenario, deadline_s=3.0)
    runs[2] = ("B", replace(runs[2][1], plan=replace(runs[2][1].plan, scenario=scenario)))

    with pytest.raises(RunFailed, match=r"different loads \(deadline_s differ\)"):
        compared(tmp_path, runs)


def test_folders_that_make_no_pairs_are_refused(tmp_path: Path) -> None:
    sides = recorded(tmp_path, abba(1.0))

    with pytest.raises(RunFailed, match="4 runs of A and 3 of B"):
        read(sides["A"], sides["B"][:3])
    with pytest.raises(RunFailed, match="1 pairs are too few"):
        read(sides["A"][:1], sides["B"][:1])
    with pytest.raises(RunFailed, match="given twice"):
        read(sides["A"], sides["A"])


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    sides = recorded(tmp_path, abba(1.0))
    (sides["A"][0] / "calls.npz").write_bytes(b"none")
    with pytest.raises(RunFailed, match="is not a recording of calls"):
        read(sides["A"], sides["B"])
    (sides["A"][0] / "report.json").write_text('{"name": 1}')
    with pytest.raises(RunFailed, match="is not a report of this version"):
        read(sides["A"], sides["B"])
    (sides["A"][0] / "report.json").unlink()
    with pytest.raises(RunFailed, match=r"No such file.*give the folders that heed-load run wrote"):
        read(sides["A"], sides["B"])


def test_the_files_say_the_same_and_the_page_stands_alone(tmp_path: Path) -> None:
    found, ran = compared(tmp_path / "runs", abba(1.1))

    written = page.write(found, ran, tmp_path / "out")

    assert sorted(path.name for path in written.parent.iterdir()) == [
        "compare.html", "compare.json", "compare.md",
    ]  # fmt: skip
    data = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert msgspec.convert(data, Comparison) == found
    text = written.read_text()
    assert text.index("worse") < text.index("<svg")
    assert text.count("<svg") == 3
    assert "<script" not in text
    assert "&lt;two&gt;" in text
    assert not SENTINEL.search(text)
    markdown = (tmp_path / "out" / "compare.md").read_text()
    assert markdown.startswith("## worse: server")
    assert "| p90 \\* |" in markdown
