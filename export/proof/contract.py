"""The fusion contract, checked on every graph before it is published.

One fused node for each attention module that was traced, and no attention computed in pieces: a
Softmax over a rank-4 tensor is one that escaped the lowering. Pure: a graph in, nothing or an error
that lists everything wrong with it out.
"""

from collections.abc import Iterator

import onnx_ir as ir

from export.errors import ContractBroken
from export.graph.fused import OP_TYPE, count_fused

_ATTENTION_RANK = 4


def check(model: ir.Model, attention_modules: int) -> int:
    """Return the number of fused nodes of a graph that keeps the contract.

    Raises:
        ContractBroken: lists every violation.
    """
    fused = count_fused(model)
    wrong = []
    if attention_modules == 0:
        wrong.append(
            "no attention module went through the lowering "
            "(the architecture does not use transformers' AttentionInterface)"
        )
    if fused != attention_modules:
        wrong.append(f"{attention_modules} attention modules became {fused} {OP_TYPE} nodes")
    wrong.extend(
        f"{node.op_type} '{node.name}' is attention that was not fused"
        for node in _unfused_softmax(model)
    )
    if wrong:
        raise ContractBroken("the fusion contract is broken: " + "; ".join(wrong))
    return fused


def check_served(optimized: ir.Model, attention_modules: int) -> None:
    """Check the graph that ONNX Runtime made of the file: optimisers may take a node apart.

    Raises:
        ContractBroken: fewer or more fused nodes run than modules were traced.
    """
    fused = count_fused(optimized)
    if fused != attention_modules:
        raise ContractBroken(
            f"the fusion contract is broken: ONNX Runtime runs {fused} {OP_TYPE} nodes for "
            f"{attention_modules} attention modules"
        )


def _unfused_softmax(model: ir.Model) -> Iterator[ir.Node]:
    for node in model.graph.all_nodes():
        if node.op_type != "Softmax":
            continue
        shapes = [v.shape for v in (*node.inputs, *node.outputs) if v is not None]
        ranks = {shape.rank() for shape in shapes if shape is not None}
        # A Softmax of unknown rank cannot be shown to be anything else.
        if not ranks or _ATTENTION_RANK in ranks:
            yield node
