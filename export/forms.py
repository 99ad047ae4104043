"""Forms of the graph: the same model in other operators, of which the fastest is published.

Every form that is measured has passed the contract and parity first. The baseline is the same
checkpoint with its attention in pieces, as an export without fusion would leave it.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx_ir as ir

from export import timing
from export.errors import ConversionFailed, ParityBroken, SlowerThanUnfused
from export.graph import biases, decompose, early, layout, standard
from export.graph.fused import count_fused
from export.kinds.kind import Interface
from export.proof import contract, parity, speed
from export.proof.case import Case
from export.proof.parity import Tolerance
from export.proof.speed import Candidate
from export.workspace import TRACED, Edit, Workspace
from server.errors import BundleCorrupt, RunFailed
from server.repository.manifest import Parity, SessionOptions, Speed
from server.runtime.session import Session, SessionConfig

# The CPU kernel of SkipLayerNormalization is slower than the Add and LayerNormalization that it
# replaces, and ONNX Runtime fuses it at load unless told not to.
WITHOUT_SKIP = ("SkipLayerNormFusion", "BiasSkipLayerNormFusion")

WITHOUT_BIAS_GELU = (*WITHOUT_SKIP, "BiasGeluFusion")
"""Add and Gelu are vectorised each; the fused kernel is slower for some sizes."""

_UNFUSED = "unfused"
_FORMS_S, _PACKING_S = 9.0, 4.0
"""Seconds to spend on measuring; large models take longer for their fewest rounds."""

_NOISE = 0.97
"""Ratios nearer to 1 than this are not told apart on a shared machine."""


@dataclass(frozen=True, slots=True)
class Form:
    """One way to write the graph and to open it."""

    name: str
    edits: tuple[Edit, ...] = ()
    disabled_optimizers: tuple[str, ...] = WITHOUT_SKIP
    selects_early: bool = False
    """The last layer is computed for the tokens that the head reads, and only for them."""


class _Unchanged(Exception):
    """An edit found nothing to do."""


def _must(edit: Edit) -> Edit:
    """Return an edit that raises `_Unchanged` where it changes nothing."""

    def run(model: ir.Model) -> None:
        if not edit(model):
            raise _Unchanged

    return run


MERGED, EARLY = _must(layout.merge_projections), _must(early.select_early)
STANDARD = (biases.absorb_biases, standard.to_standard)
AS_TRACED = Form("as traced")
FORMS = (
    AS_TRACED,
    Form("as traced, SkipLayerNormalization", disabled_optimizers=()),
    Form("standard Attention, absorbed biases", STANDARD),
    Form("standard Attention, absorbed biases, Gelu apart", STANDARD, WITHOUT_BIAS_GELU),
    Form(
        "standard Attention, absorbed biases, merged projections",
        (*STANDARD, MERGED),
    ),
    Form(
        "standard Attention, absorbed biases, early selection",
        (*STANDARD, EARLY),
        selects_early=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The form to publish, and what was measured of it."""

    form: Form
    path: Path
    parity: tuple[Parity, ...]
    session: SessionOptions
    speed: tuple[Speed, ...] = ()
    notes: tuple[str, ...] = ()


Proven = dict[Form, tuple[Candidate, tuple[Parity, ...]]]
Notes = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """What a form has to pass."""

    interface: Interface
    cases: Sequence[Case]
    tolerance: Tolerance


def first_proven(workspace: Workspace, source: str, proof: Proof) -> Chosen:
    """Return the first form that passes, not measured.

    Raises:
        ParityBroken, RunFailed, BundleCorrupt: none does; why the form as traced does not.
    """
    proven, notes = _proven(workspace, source, proof, enough=1)
    ((form, (candidate, found)),) = proven.items()
    session = SessionOptions(disabled_optimizers=form.disabled_optimizers)
    return Chosen(form, candidate.path, found, session, notes=notes)


def choose(workspace: Workspace, source: str, proof: Proof) -> Chosen:
    """Prove and measure every form of a graph and return the fastest.

    Raises:
        ParityBroken, RunFailed, BundleCorrupt: as `first_proven`.
        SlowerThanUnfused: no form is as fast as the same model with its attention in pieces.
    """
    proven, notes = _proven(workspace, source, proof, enough=len(FORMS))
    # ONNX Runtime's defaults, which is how an export without fusion is opened.
    baseline = Candidate(_UNFUSED, workspace.variant(_UNFUSED, decompose.decompose, source=TRACED))
    measured = speed.compare(
        [baseline, *(candidate for candidate, _ in proven.values())],
        lambda shape: timing.feeds(proof.interface, shape),
        timing.shapes(proof.interface),
        budget_s=_FORMS_S,
    )
    best = _fastest_fused(measured)
    form = next(form for form in proven if form.name == best.name)
    candidate, found = proven[form]
    figures = tuple(
        Speed(
            str(shape),
            1e3 * measured.median(best.name, shape),
            1e3 * measured.median(_UNFUSED, shape),
        )
        for shape in best.by_shape
    )
    return Chosen(form, candidate.path, found, _session(candidate, proof.interface), figures, notes)


def _proven(workspace: Workspace, source: str, proof: Proof, enough: int) -> tuple[Proven, Notes]:
    """Return up to `enough` forms that pass, and why others were left out."""
    found: Proven = {}
    failures: list[Exception] = []
    notes: list[str] = []
    for index, form in enumerate(FORMS):
        if len(found) == enough:
            break
        try:
            path = workspace.variant(f"form-{index}", *form.edits, source=source)
            candidate = Candidate(form.name, path, form.disabled_optimizers)
            found[form] = (candidate, prove(path, form.disabled_optimizers, proof))
        except _Unchanged:
            continue
        except (ConversionFailed, ParityBroken, RunFailed, BundleCorrupt) as error:
            failures.append(error)
            notes.append(f"form '{form.name}' was left out: {error}")
    if not found:
        raise failures[0]
    return found, tuple(notes)


def whole(workspace: Workspace, source: str, form: Form) -> ir.Model | None:
    """Return the form that computes every token, for one that does not."""
    if not form.selects_early:
        return None
    model = workspace.read(source)
    for edit in form.edits:
        if edit is not EARLY:
            edit(model)
    return model


def prove(path: Path, disabled: tuple[str, ...], proof: Proof) -> tuple[Parity, ...]:
    """Open a graph as it is served and compare it with PyTorch.

    Raises:
        ParityBroken: the answers differ.
    """
    session = Session(path, SessionConfig(disabled_optimizers=disabled))
    return parity.compare(session, proof.cases, proof.tolerance)


def check_served(path: Path, disabled: tuple[str, ...], scratch: Path) -> None:
    """Check that ONNX Runtime runs every fused node of a file: optimisers may take one apart.

    Raises:
        ContractBroken: it does not.
    """
    # On the disk of the bundle: the rewritten graph comes with its weights.
    with TemporaryDirectory(dir=scratch) as directory:
        optimized = Path(directory) / "optimized.onnx"
        Session(path, SessionConfig(disabled_optimizers=disabled, optimized_model_path=optimized))
        contract.check_served(ir.load(optimized), count_fused(ir.load(path)))


def _fastest_fused(measured: speed.Measurements) -> speed.Decision:
    fused = [name for name in measured.seconds if name != _UNFUSED]
    best = max((_against_unfused(measured, name) for name in fused), key=lambda one: one.speedup)
    if best.speedup < _NOISE:
        raise SlowerThanUnfused(
            f"the fastest fused form, {best.name}, runs at {best.speedup:.2f} times the speed of "
            "the unfused export; --no-measure publishes the form as traced all the same"
        )
    return best


def _against_unfused(measured: speed.Measurements, name: str) -> speed.Decision:
    by_shape = {shape: measured.speedup(name, _UNFUSED, shape) for shape in measured.seconds[name]}
    return speed.Decision(name, statistics.geometric_mean(by_shape.values()), by_shape)


def _session(candidate: Candidate, interface: Interface) -> SessionOptions:
    """Measure how many tokens a run should hold."""
    if not interface.is_packed:
        return SessionOptions(disabled_optimizers=candidate.disabled_optimizers)
    budget = speed.packing_budget(
        candidate, lambda shape: timing.feeds(interface, shape), budget_s=_PACKING_S
    )
    return SessionOptions(
        disabled_optimizers=candidate.disabled_optimizers,
        max_batch_tokens=budget.max_batch_tokens,
    )
