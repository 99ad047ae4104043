"""Weights in fewer bits: which layers, at what cost in quality.

Cost is the mean of 1 - cosine to PyTorch over built-in texts. With a budget, layers whose rounding
costs too much walk back to float, and the card names them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

import onnx_ir as ir

from export.errors import ExportFailed
from export.evaluation import unlabelled
from export.forms import WITHOUT_SKIP
from export.graph import biases, half, int8, nbits, ranges
from export.graph.ranges import Ranges
from export.proof import budget
from export.proof.case import Case
from export.workspace import TRACED, Edit, Workspace
from server.repository.manifest import Precision
from server.runtime.cpu import cpu_flags, isa
from server.runtime.session import Session, SessionConfig

_DOT_PRODUCTS = frozenset({"amx_int8", "avx512_vnni", "avx_vnni"})
"""Instruction sets of x86 that add products of bytes in 32 bits."""


@dataclass(frozen=True, slots=True)
class Rounded:
    """A graph in the precision asked for."""

    source: str
    """Its name in the workspace."""
    kept: tuple[str, ...] = ()
    """Layers that stay in float for their quality."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What rounding learns from, and what it is judged by."""

    cases: Sequence[Case]
    """Random sequences: they show how far values reach."""
    samples: Sequence[Case]
    """Natural inputs with PyTorch's answers, which the rounding has not seen."""


def lower(
    workspace: Workspace, precision: Precision, inputs: Inputs, most: float | None
) -> Rounded:
    """Write the traced graph in a precision, within the loss allowed.

    Raises:
        ExportFailed: no layer can be rounded, or the loss allowed is less than any costs.
    """
    if precision == "fp32":
        return Rounded(TRACED)
    if precision == "fp16":
        workspace.variant(precision, half.to_half, own=True)
        return Rounded(precision)
    known = _ranges(workspace, inputs.cases) if precision == "int8" else {}
    layers = _round(workspace.read(), precision, known, ())
    if not layers:
        raise ExportFailed(f"the graph has no matrices that {precision} could hold")

    def write(kept: Collection[str]) -> Session:
        edits: tuple[Edit, ...] = (
            biases.absorb_biases,
            partial(_round, precision=precision, known=known, kept=kept),
        )
        path = workspace.variant(precision, *edits, own=True)
        return Session(path, SessionConfig(disabled_optimizers=WITHOUT_SKIP))

    kept: frozenset[str] = frozenset()
    if most is not None:
        kept = budget.walk_back(
            layers, lambda keep: unlabelled.loss(inputs.samples, write(keep)), most
        )
    write(kept)
    return Rounded(precision, tuple(sorted(kept)))


def _round(
    model: ir.Model, precision: Precision, known: Ranges, kept: Collection[str]
) -> tuple[str, ...]:
    """Round a graph in place and return the names of the layers that were rounded."""
    if precision == "int4":
        return nbits.quantize(model, keep=kept)
    # Otherwise two products are added in 16 bits, which weights of 8 bits would overflow.
    overflows = isa().startswith("x86") and not cpu_flags() & _DOT_PRODUCTS
    return int8.quantize(model, keep=kept, ranges=known, reduce_range=overflows)


def _ranges(workspace: Workspace, cases: Sequence[Case]) -> Ranges:
    """Return how far the values before each linear layer reach."""
    model = workspace.read()
    biases.absorb_biases(model)
    path = workspace.path("ranges")
    ir.save(ranges.tap(model), path)
    session = Session(path, SessionConfig(disabled_optimizers=WITHOUT_SKIP))
    return ranges.join(session.output_names, (session.run(case.feeds) for case in cases))
