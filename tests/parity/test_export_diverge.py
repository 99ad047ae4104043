"""A graph that answers wrongly: the layer that is to blame is named, and no other."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
import pytest
import torch
import zoo
import zoo_tensors
from checkpoints import save_checkpoint
from edited import double_scale, replace_output
from onnx_ir.tape import Tape
from torch import nn
from transformers import AttentionInterface

from export import load
from export.attention import lowering
from export.kinds.choose import kind_of, load_model
from export.kinds.text import TextOptions
from export.load import Loaded
from export.proof.case import Case
from export.proof.diverge import first_difference
from export.proof.parity import TOLERANCES
from export.workspace import TRACED, Workspace
from server.repository.manifest import Task

LIMIT = TOLERANCES["fp32"].limit


@dataclass(frozen=True)
class Subject:
    """A checkpoint, its traced graph, and batches with PyTorch's answers."""

    loaded: Loaded
    workspace: Workspace
    cases: dict[str, Case]

    def blame(self, edit: Callable[[ir.Model], object], case: str) -> str:
        """Return what is said about a graph after an edit."""
        graph = self.workspace.variant("wrong", edit)
        return first_difference(self.loaded, graph, self.cases[case], LIMIT)


def trace(checkpoint: Path, task: Task) -> Subject:
    config = load.read_config(checkpoint)
    kind = kind_of(load_model(checkpoint, config, task), TextOptions())
    cases = {case.name: case for case in kind.cases()}
    workspace = Workspace(checkpoint / "work")
    workspace.save_traced(kind.convert().model)
    # As after a failed export: loaded once more, untouched by the trace.
    return Subject(load_model(checkpoint, config, task), workspace, cases)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return trace(save_checkpoint(tmp_path_factory.mktemp("bert") / "tiny"), "embed")


def double_weight(model: ir.Model, layer: str) -> None:
    """Plant a wrong weight in one linear layer."""
    node = next(
        node
        for node in model.graph
        if node.metadata_props.get("module") == layer and node.op_type == "MatMul"
    )
    weight = node.inputs[1]
    assert weight is not None
    assert weight.const_value is not None
    weight.const_value = ir.tensor(2 * weight.const_value.numpy(), name=weight.name)


def test_a_wrong_scale_planted_while_tracing_names_its_layer(
    bert_checkpoint: Path, tmp_path: Path
) -> None:
    def second_layer_wrong(
        module: nn.Module, *arguments: torch.Tensor, scaling: float, **keywords: object
    ) -> tuple[torch.Tensor, None]:
        factor = 2 if module.layer_idx == 1 else 1
        return lowering.attend(module, *arguments, scaling=factor * scaling, **keywords)  # type: ignore[arg-type]  # keywords pass through

    checkpoint = save_checkpoint(tmp_path / bert_checkpoint.name)
    AttentionInterface.register(lowering.NAME, second_layer_wrong)
    try:
        subject = trace(checkpoint, "embed")
    finally:
        AttentionInterface.register(lowering.NAME, lowering.attend)
    for case in ("single, length 37", "left-padded, batch 2", "packed, batch 5"):
        found = subject.blame(lambda _: None, case)
        assert found.startswith("it first differs at encoder.layer.1.attention.self by 0.")


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["ALBERT", "MPNet"])
def test_the_attention_with_a_wrong_scale_is_named_whatever_the_architecture(
    name: str, tmp_path: Path
) -> None:
    architecture = next(one for one in zoo.TEXT if one.name == name)
    subject = trace(zoo.save(architecture, tmp_path), "embed")
    planted = []
    found = subject.blame(lambda model: planted.append(double_scale(model, 1)), "packed, batch 2")
    assert found.startswith(f"it first differs at {planted[0]} by 0.")


def test_an_attention_over_whole_rows_is_named(tmp_path: Path) -> None:
    architecture = next(one for one in zoo_tensors.TENSORS if one.name == "Swin")
    subject = trace(zoo_tensors.save(architecture, tmp_path), architecture.task)
    planted = []
    case = next(iter(subject.cases))
    found = subject.blame(lambda model: planted.append(double_scale(model, 1)), case)
    assert found.startswith(f"it first differs at {planted[0]} by ")


def test_a_layer_that_is_no_attention_is_named_too(bert: Subject) -> None:
    layer = "encoder.layer.0.intermediate.dense"
    found = bert.blame(lambda model: double_weight(model, layer), "right-padded, batch 5")
    assert found.startswith(f"it first differs at {layer} by ")


def test_a_fault_behind_the_last_layer_is_told_from_one_inside(bert: Subject) -> None:
    def turn_sign(model: ir.Model) -> None:
        replace_output(model, lambda output: Tape(model.graph).op("Neg", [output]))

    found = bert.blame(turn_sign, "packed, batch 1")
    last = "encoder.layer.1.output.LayerNorm"
    assert found == f"its layers agree up to {last}, so the fault lies behind"


def test_a_graph_that_is_right_blames_no_layer_and_nothing_is_left_beside_it(
    bert: Subject,
) -> None:
    for case in bert.cases:
        assert bert.blame(lambda _: None, case).startswith("no layer of it differs")
    files = {file.name for file in bert.workspace.directory.iterdir()}
    assert files == {f"{TRACED}.onnx", f"{TRACED}.onnx.data", "wrong.onnx"}
