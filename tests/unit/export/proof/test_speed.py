"""Choosing among measurements, and what a measurement consists of. No time is asserted."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from export.proof.speed import (
    Candidate,
    Measurements,
    Shape,
    compare,
    fastest,
    packing_budget,
    smallest_sufficient,
)
from server.errors import BundleCorrupt
from server.runtime.session import Array

SHORT, LONG = Shape(1, 16), Shape(1, 256)


def measured(**medians: tuple[float, float]) -> Measurements:
    """Three rounds around the median of each candidate at a short and a long shape."""
    return Measurements(
        {
            name: {
                shape: (median * 0.9, median, median * 1.4)
                for shape, median in zip((SHORT, LONG), pair, strict=True)
            }
            for name, pair in medians.items()
        }
    )


def test_the_fastest_is_chosen_over_all_shapes() -> None:
    measurements = measured(unfused=(4.0, 40.0), fused=(2.0, 50.0), standard=(3.0, 30.0))
    decision = fastest(measurements, "unfused")
    assert decision.name == "standard"
    assert decision.speedup == pytest.approx(4 / 3)
    assert decision.by_shape == pytest.approx({SHORT: 4 / 3, LONG: 4 / 3})


def test_gain_and_loss_are_weighed_as_ratios() -> None:
    decision = fastest(measured(unfused=(4.0, 40.0), fused=(2.0, 50.0)), "unfused")
    assert decision.speedup == pytest.approx((2.0 * 0.8) ** 0.5)


def test_the_baseline_stays_when_nothing_beats_it() -> None:
    decision = fastest(measured(unfused=(1.0, 10.0), fused=(1.1, 10.0)), "unfused")
    assert (decision.name, decision.speedup) == ("unfused", 1.0)


def test_a_disturbance_that_all_candidates_met_changes_no_ratio() -> None:
    slow = (1.0, 5.0, 1.0, 5.0, 5.0)
    measurements = Measurements(
        {
            "unfused": {SHORT: [2.0 * factor for factor in slow]},
            "fused": {SHORT: [1.0 * factor for factor in slow]},
        }
    )
    assert measurements.speedup("fused", "unfused", SHORT) == 2.0


def test_the_smallest_run_that_is_nearly_best_is_enough() -> None:
    throughput = {128: 80.0, 256: 99.0, 512: 100.0, 1024: 99.5}
    assert smallest_sufficient(throughput) == 256
    assert smallest_sufficient(throughput, slack=0.0) == 512


def test_every_candidate_is_measured_in_the_same_rounds(tmp_path: Path) -> None:
    candidates = [Candidate(name, write(tmp_path, name, name)) for name in ("Neg", "Exp")]
    measurements = compare(candidates, feeds, (SHORT, LONG), budget_s=0.0)
    assert set(measurements.seconds) == {"Neg", "Exp"}
    for shape in (SHORT, LONG):
        rounds = [measurements.seconds[name][shape] for name in ("Neg", "Exp")]
        assert len(rounds[0]) == len(rounds[1]) >= 5
        assert min(min(figures) for figures in rounds) > 0


def test_a_candidate_is_fed_only_what_its_graph_has(tmp_path: Path) -> None:
    candidates = [
        Candidate("one", write(tmp_path, "one", "Neg")),
        Candidate("other", write(tmp_path, "other", "Neg", source="attention_mask")),
    ]
    measurements = compare(candidates, feeds, (SHORT,), budget_s=0.0)
    assert fastest(measurements, "one").name in {"one", "other"}


def test_a_file_that_does_not_load_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a graph")
    with pytest.raises(BundleCorrupt):
        compare([Candidate("broken", tmp_path / "broken.onnx")], feeds)


def test_the_packing_budget_is_one_of_the_sizes_measured(tmp_path: Path) -> None:
    seen: list[Shape] = []

    def recorded(shape: Shape) -> Mapping[str, Array]:
        seen.append(shape)
        return feeds(shape)

    candidate = Candidate("one", write(tmp_path, "one", "Exp"))
    budget = packing_budget(
        candidate, recorded, row_tokens=64, run_tokens=(32, 128, 256), budget_s=0.0
    )
    assert seen == [Shape(1, 32), Shape(2, 64), Shape(4, 64)]
    assert set(budget.tokens_per_s) == {32, 128, 256}
    assert budget.max_batch_tokens in budget.tokens_per_s


def feeds(shape: Shape) -> Mapping[str, Array]:
    values = np.ones((shape.rows, shape.length), np.float32)
    return {"states": values, "attention_mask": values}


def write(directory: Path, name: str, op_type: str, source: str = "states") -> Path:
    """Write a graph of one operator."""
    value = ir.val(source, ir.DataType.FLOAT, ["rows", "length"])
    node = ir.node(op_type, [value])
    (output,) = node.outputs
    output.name, output.type, output.shape = "result", value.type, value.shape
    graph = ir.Graph([value], [output], nodes=[node], opset_imports={"": 20}, name=name)
    ir.save(ir.Model(graph, ir_version=10), directory / f"{name}.onnx")
    return directory / f"{name}.onnx"
