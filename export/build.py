"""From the traced graph to the files that are published: precision, form, proof, explanation."""

from dataclasses import dataclass

import onnx_ir as ir

from export import forms, precision
from export.errors import QualityBelowBudget
from export.evaluation import unlabelled
from export.evaluation.prepared import compare
from export.forms import Chosen, Proof
from export.graph import explain
from export.graph.fused import count_fused, fused_nodes
from export.progress import Progress
from export.proof.parity import TOLERANCES
from export.publish import ExternalData, Stage, write_model
from export.traced import Traced
from export.workspace import Workspace
from server.repository.bundle import MODEL_NAME
from server.repository.manifest import (
    Explain,
    Parity,
    Precision,
    Quality,
    SessionOptions,
    Speed,
    TensorSpec,
)
from server.runtime.session import Session, SessionConfig

EXPLAIN_NAME = "explain.onnx"


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What the command line may say about the published graph."""

    precision: Precision = "fp32"
    budget: float | None = None
    """Largest loss of quality that a precision may cost."""
    explain: bool = False
    measure: bool = True
    """Compare forms of the graph by time; without it the form as traced is published."""
    external_data: ExternalData = "auto"


@dataclass(frozen=True, slots=True)
class Built:
    """The files in the stage directory and what was found out about them."""

    opset: int
    fused_nodes: int
    fused_op: str
    session: SessionOptions
    parity: tuple[Parity, ...]
    quality: tuple[Quality, ...]
    speed: tuple[Speed, ...]
    layout: tuple[str, ...]
    kept_float: tuple[str, ...]
    explain: Explain | None
    notes: tuple[str, ...]


def build(
    traced: Traced, options: BuildOptions, staged: Stage, workspace: Workspace, progress: Progress
) -> Built:
    """Write the graph that serves best and prove it.

    Raises:
        ExportFailed: what would be published is wrong, slow or not good enough; says which.
        BundleCorrupt: ONNX Runtime refuses the graph.
    """
    proof = Proof(traced.interface, traced.cases, TOLERANCES[options.precision])
    with progress.step(f"lower to {options.precision}"):
        rounded = precision.lower(
            workspace,
            options.precision,
            precision.Inputs(traced.cases, traced.samples),
            options.budget,
        )
    with progress.step("measure forms" if options.measure else "compare with PyTorch"):
        choose = forms.choose if options.measure else forms.first_proven
        chosen = choose(workspace, rounded.source, proof)
    with progress.step("write model"):
        model = ir.load(chosen.path)
        write_model(model, staged.directory, "always" if options.explain else options.external_data)
        whole = forms.whole(workspace, rounded.source, chosen.form)
        explained = _explain(staged, whole) if options.explain else None
    with progress.step("check what was written"):
        published, disabled = staged.directory / MODEL_NAME, chosen.form.disabled_optimizers
        forms.check_served(published, disabled, workspace.directory)
        found = forms.prove(published, disabled, proof)
    with progress.step("measure quality"):
        quality = _quality(traced, options, chosen, staged)
    return Built(
        opset=model.opset_imports[""],
        fused_nodes=count_fused(model),
        fused_op=", ".join(
            sorted({f"{node.domain or 'ai.onnx'}.{node.op_type}" for node in fused_nodes(model)})
        ),
        session=chosen.session,
        parity=found,
        quality=quality,
        speed=chosen.speed,
        layout=(chosen.form.name,),
        kept_float=rounded.kept,
        explain=explained,
        notes=chosen.notes,
    )


def _explain(staged: Stage, whole: ir.Model | None) -> Explain:
    """Write the explaining graph over the weights just written, and open it once."""
    path = staged.directory / EXPLAIN_NAME
    graph = explain.save_explain(staged.directory / MODEL_NAME, path, whole).graph
    Session(path, SessionConfig())
    outputs = tuple(
        TensorSpec(
            str(value.name),
            "FP32",
            tuple(size if isinstance(size, int) else -1 for size in value.shape or ()),
        )
        for value in graph.outputs
    )
    return Explain(EXPLAIN_NAME, outputs)


def _quality(
    traced: Traced, options: BuildOptions, chosen: Chosen, staged: Stage
) -> tuple[Quality, ...]:
    """Measure the published file against PyTorch's answers.

    Raises:
        QualityBelowBudget: the form that was chosen loses more than is allowed.
    """
    if traced.evaluation is None and not traced.samples:
        return ()
    session = Session(
        staged.directory / MODEL_NAME,
        SessionConfig(disabled_optimizers=chosen.form.disabled_optimizers),
    )
    measured: tuple[Quality, ...] = ()
    if traced.evaluation is not None:
        measured = compare(traced.evaluation, session)
    if not traced.samples:
        return measured
    loss = unlabelled.loss(traced.samples, session)
    if options.budget is not None and not loss <= options.budget:
        raise QualityBelowBudget(
            f"the published graph loses {loss:.4f} of mean cosine, {options.budget:g} is allowed"
        )
    return (*measured, *unlabelled.agreement(traced.samples, session, traced.interface.labels))
