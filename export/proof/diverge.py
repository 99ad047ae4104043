"""Name the first layer of a graph that does not do what PyTorch does.

Only for a graph that has failed parity: a scratch copy hands out the value at every boundary
between two modules, PyTorch runs the same batch with hooks at the same places, and the first
boundary where the two differ names the layer. The attention is transformers' own, eager; nothing of
the lowering takes part.
"""

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from export.graph.boundaries import Boundary, boundaries
from export.graph.select import INPUT_IDS, SEGMENT_IDS
from export.load import Loaded
from export.proof import inner
from export.proof.case import Array, Case
from export.proof.inner import Run, Values
from server.runtime.session import Session, SessionConfig

_SCRATCH = "boundaries.onnx"


def first_difference(loaded: Loaded, graph: Path, case: Case, limit: float) -> str:
    """Return where a graph and PyTorch part, as the end of a sentence.

    Args:
        loaded: the checkpoint that the graph was traced from.
        graph: the file, with the origin of its nodes. A copy lies beside it meanwhile.
        case: a batch that the graph gets wrong.
        limit: largest difference that is none, in units of the largest value expected where that
            is beyond 1, as in `parity`.

    Raises:
        BundleCorrupt, RunFailed: ONNX Runtime refuses the graph with its inner values as outputs.
    """
    model = _asked(loaded.module)
    modules = _modules(model)
    leaves = {path for path, module in modules.items() if not any(module.children())}
    probed, given = _run_graph(graph, case, leaves)
    runs = list(inner.runs(case))
    wanted = _run_torch(model, runs, modules, probed)
    last = None
    for boundary in probed:
        expected = wanted.get((boundary.module, boundary.side, boundary.run))
        if expected is None:
            continue
        difference = _difference(given[str(boundary.value.name)], expected, runs, case)
        if difference is None:
            continue
        # Written so that NaN differs.
        if not difference <= limit:
            return f"it first differs at {boundary.layer} by {difference:.2g}"
        last = boundary
    if all(_largest(given[name], values) <= limit for name, values in case.expected.items()):
        # Kept values forbid fusions across them, and the graph may have been rounded since.
        return "no layer of it differs by itself, so the fault lies in what is made of the graph"
    if last is None:
        return "none of its layers can be compared one by one"
    return f"its layers agree up to {last.layer}, so the fault lies behind"


def _asked(module: PreTrainedModel) -> PreTrainedModel:
    """Return what is traced: of a model that also decodes text, the encoder."""
    if "decoder_input_ids" not in inspect.signature(module.forward).parameters:
        return module
    return cast("PreTrainedModel", module.get_encoder())


def _modules(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Return every module by the paths that the nodes of a graph may know it by."""
    # The backbone and the head are traced apart, each by paths of its own.
    whole = dict(model.named_modules(remove_duplicate=False))
    base: nn.Module = model.base_model
    return whole | dict(base.named_modules(remove_duplicate=False))


def _run_graph(
    graph: Path, case: Case, leaves: set[str]
) -> tuple[list[Boundary], dict[str, Array]]:
    model = ir.load(graph)
    probed = list(boundaries(model, leaves))
    outputs = {str(value.name): value for value in model.graph.outputs}
    for boundary in probed:
        # What tracing noted of its shape is no promise.
        boundary.value.shape = None
        outputs.setdefault(str(boundary.value.name), boundary.value)
    model.graph.outputs[:] = outputs.values()
    scratch = graph.with_name(_SCRATCH)
    try:
        ir.save(model, scratch)
        session = Session(scratch, SessionConfig())
        return probed, dict(zip(session.output_names, session.run(case.feeds), strict=True))
    finally:
        scratch.unlink(missing_ok=True)


def _run_torch(
    model: nn.Module,
    runs: Sequence[Run],
    modules: Mapping[str, nn.Module],
    probed: Sequence[Boundary],
) -> dict[tuple[str, str, int], list[Values]]:
    """Return the values at each boundary, one for each run.

    Ends of modules that PyTorch runs more or less often than the graph are left out.
    """
    ends = Counter((boundary.module, boundary.side) for boundary in probed)
    heard = [inner.listen(model, run, modules, ends) for run in runs]
    return {
        (*end, number): [one[end][number] for one in heard]
        for end, times in ends.items()
        if all(len(one.get(end, ())) == times for one in heard)
        for number in range(times)
    }


def _difference(
    given: Array, expected: Sequence[Values], runs: Sequence[Run], case: Case
) -> float | None:
    """Return the largest difference over all runs; None where the two cannot be laid together."""
    laid = []
    for number, (run, wanted) in enumerate(zip(runs, expected, strict=True)):
        pair = _lay_together(given, wanted, run, number, case)
        if pair is None:
            return None
        laid.append(pair)
    found = np.concatenate([left.ravel() for left, _ in laid])
    return _largest(found, np.concatenate([right.ravel() for _, right in laid]))


def _lay_together(
    given: Array, wanted: Values, run: Run, number: int, case: Case
) -> tuple[Array, Values] | None:
    """Return what the graph has of one run, and what PyTorch has, in one shape."""
    if run.place is None:
        rows = _whole_rows(case, given)
        if given.size != wanted.size or given.shape[-1:] != wanted.shape[-1:] or rows is None:
            return None
        return given[rows], wanted.reshape(given.shape)[rows]
    row, columns = run.place
    length = columns.stop - columns.start
    tokens = given.shape[:2] == case.feeds[INPUT_IDS].shape
    # Some models pad a sequence inside, on the right.
    if tokens and wanted.shape[1:2] >= (length,) and wanted.shape[2:] == given.shape[2:]:
        return given[row, columns], wanted[0, :length]
    segments = case.feeds[SEGMENT_IDS]
    sequences = sum(len(np.unique(line[line > 0])) for line in segments)
    if given.shape == (sequences, *wanted.shape[1:]) and len(wanted) == 1:
        return given[number], wanted[0]
    return None


def _whole_rows(case: Case, given: Array) -> NDArray[np.bool_] | None:
    """Return which rows have no padding, whose values mean nothing; None if rows are mixed up."""
    rows = len(next(iter(case.feeds.values())))
    whole = np.ones(rows, np.bool_)
    for name, mask in case.feeds.items():
        if name.endswith("_mask"):
            whole &= mask.reshape(rows, -1).astype(np.bool_).all(axis=1)
    if given.shape[:1] == (rows,):
        return whole
    return np.ones(given.shape[:1], np.bool_) if whole.all() else None


def _largest(given: Array, wanted: Values) -> float:
    if given.shape != wanted.shape:
        return float("inf")
    compared = ~np.isnan(wanted)
    if not compared.any():
        return 0.0
    found, expected = given[compared].astype(np.float32), wanted[compared]
    size = max(1.0, float(np.max(np.abs(expected))))
    return float(np.max(np.abs(found - expected))) / size
