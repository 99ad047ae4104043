"""Turn fused contrib nodes into the standard operator `Attention` of opset 23.

The CPU kernel of the standard operator multiplies in place in (rows, length, hidden), where
MultiHeadAttention copies query, key and value into another order first. It knows shared key heads
and capped scores, and any runtime that implements the opset can run it. Pure, no torch.
"""

import onnx_ir as ir
from onnx_ir.passes import common

from export.errors import ConversionFailed
from export.graph.fused import fused_nodes
from export.graph.operands import read

OPSET = 23
"""The first with `Attention`. Later ones add inputs for a cache, which is not used here."""

_IR_VERSION = 11
"""The file format that opset 23 came with."""

_CHANGED = {"GroupNormalization": 21}
"""Operators that opsets 21 to 23 changed, not just extended to more types: since when."""


def to_standard(model: ir.Model) -> None:
    """Replace every MultiHeadAttention and GroupQueryAttention by `Attention`.

    Raises:
        ConversionFailed: a node does more than attention, or another operator of the graph means
            something else in the newer opset.
    """
    nodes = [node for node in fused_nodes(model) if node.domain]
    if not nodes:
        return
    _raise_opset(model)
    for node in nodes:
        _replace(model.graph, node)
    common.RemoveUnusedNodesPass()(model)
    common.RemoveUnusedOpsetsPass()(model)


def _raise_opset(model: ir.Model) -> None:
    opset = model.opset_imports[""]
    changed = {
        node.op_type
        for node in model.graph.all_nodes()
        if not node.domain and opset < _CHANGED.get(node.op_type, 0)
    }
    if changed:
        raise ConversionFailed(
            f"{', '.join(sorted(changed))} of opset {opset} means something else in {OPSET}"
        )
    model.opset_imports[""] = max(opset, OPSET)
    model.ir_version = max(model.ir_version, _IR_VERSION)


def _replace(graph: ir.Graph, node: ir.Node) -> None:
    parts = read(node)
    # No `is_causal`: the bias holds every mask, and the two would only be added up.
    attributes: dict[str, int | float] = {
        "q_num_heads": parts.heads,
        "kv_num_heads": parts.kv_heads,
        "scale": parts.scale,
    }
    if parts.softcap:
        attributes["softcap"] = parts.softcap
    inputs = [parts.query, parts.key, parts.value]
    if parts.bias is not None:
        inputs.append(parts.bias)
    standard = ir.node("Attention", inputs, attributes, name=node.name)
    standard.metadata_props.update(node.metadata_props)
    ir.convenience.replace_nodes_and_values(
        graph, node, [node], [standard], node.outputs[:1], standard.outputs
    )
