"""The fusion contract, checked on every graph before it is published.

One fused node for each attention that was traced, and no attention computed in pieces: a Softmax
over a rank-4 tensor, or one whose result multiplies computed values, escaped the lowering. Pure: a
graph in, nothing or an error that lists everything wrong with it out.
"""

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from export.errors import ContractBroken
from export.graph.fused import count_fused
from export.graph.origin import CLASS, MODULE

_ATTENTION_RANK = 4


def check(
    model: ir.Model, attention_classes: Sequence[str], *, allow_unfused: bool = False
) -> tuple[str, ...]:
    """Return the classes of attention that stayed in pieces: none, unless they are allowed.

    Raises:
        ContractBroken: lists every violation.
    """
    expected, fused = len(attention_classes), count_fused(model)
    escaped = list(_unfused_softmax(model))
    wrong = []
    if fused != expected:
        wrong.append(f"{expected} attention modules became {fused} fused nodes")
    if escaped and not allow_unfused:
        wrong.extend(_described(node) for node in escaped)
        wrong.append(
            "the architecture computes this attention outside transformers' AttentionInterface; "
            "--allow-unfused exports it as it is"
        )
    if not (expected or escaped or allow_unfused):
        wrong.append("the model has no attention at all; --allow-unfused exports it as it is")
    if wrong:
        raise ContractBroken("the fusion contract is broken: " + "; ".join(wrong))
    return tuple(sorted({_class(node) for node in escaped}))


def check_served(optimized: ir.Model, fused: int) -> None:
    """Check the graph that ONNX Runtime made of the file: optimisers may take a node apart.

    Raises:
        ContractBroken: fewer or more fused nodes run than were written.
    """
    running = count_fused(optimized)
    if running != fused:
        raise ContractBroken(
            f"the fusion contract is broken: ONNX Runtime runs {running} fused nodes of {fused}"
        )


def _unfused_softmax(model: ir.Model) -> Iterator[ir.Node]:
    for node in model.graph.all_nodes():
        if node.op_type != "Softmax":
            continue
        shapes = [v.shape for v in (*node.inputs, *node.outputs) if v is not None]
        ranks = {shape.rank() for shape in shapes if shape is not None}
        # A Softmax of unknown rank cannot be shown to be anything else.
        if not ranks or _ATTENTION_RANK in ranks or _weighs_values(node):
            yield node


def _weighs_values(node: ir.Node) -> bool:
    """Whether probabilities of any rank multiply something that is computed."""
    for use in node.outputs[0].uses():
        if use.node.op_type != "MatMul" or use.idx != 0:
            continue
        values = use.node.inputs[1]
        if values is not None and values.const_value is None:
            return True
    return False


def _described(node: ir.Node) -> str:
    place = node.metadata_props.get(MODULE)
    where = f" at {place}" if place else f" ('{node.name}')"
    return f"{_class(node)}{where} was not fused"


def _class(node: ir.Node) -> str:
    return node.metadata_props.get(CLASS, "an attention of unknown class")
