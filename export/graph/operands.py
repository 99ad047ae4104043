"""What one fused attention node computes, read from whichever of the three operators it is.

`softmax(softcap(scale * Q K^T) + bias) V`, with query (rows, queries, heads * size), key and value
(rows, keys, kv_heads * size) and bias (rows | 1, heads | 1, queries, keys). Pure, no torch.
"""

from dataclasses import dataclass

import onnx_ir as ir

from export.errors import ConversionFailed
from export.graph.fused import DOMAIN, GROUP_QUERY, MULTI_HEAD

_BIAS_INPUT = {(DOMAIN, MULTI_HEAD): 5, (DOMAIN, GROUP_QUERY): 10, ("", "Attention"): 3}
_IGNORED_INPUTS = {(DOMAIN, GROUP_QUERY): {5, 6}}
"""Lengths of a cache, which is not there: every key counts, and the bias says which attend."""

_HEADS = {MULTI_HEAD: "num_heads", GROUP_QUERY: "num_heads", "Attention": "q_num_heads"}
_CAUSAL = {MULTI_HEAD: "unidirectional", GROUP_QUERY: "causal", "Attention": "is_causal"}


@dataclass(frozen=True, slots=True)
class Operands:
    """The values and numbers that define one attention."""

    query: ir.Value
    key: ir.Value
    value: ir.Value
    bias: ir.Value | None
    heads: int
    kv_heads: int
    scale: float
    softcap: float
    """0: scores are not capped."""


def read(node: ir.Node) -> Operands:
    """Return the operands of a fused node.

    Raises:
        ConversionFailed: the node does something that these operands do not describe.
    """
    kind = (node.domain, node.op_type)
    _refuse_unread(node, {0, 1, 2, _BIAS_INPUT[kind]} | _IGNORED_INPUTS.get(kind, set()))
    query, key, value = node.inputs[:3]
    if query is None or key is None or value is None:
        raise ConversionFailed(f"{node.op_type} '{node.name}' packs its query, key and value")
    heads = _integer(node, _HEADS[node.op_type], 0)
    if heads < 1:
        raise ConversionFailed(f"{node.op_type} '{node.name}' does not say how many heads it has")
    bias = _input(node, _BIAS_INPUT[kind])
    default_causal = int(node.op_type == GROUP_QUERY)
    if bias is None and _integer(node, _CAUSAL[node.op_type], default_causal):
        raise ConversionFailed(
            f"{node.op_type} '{node.name}' is causal without a bias that says so"
        )
    return Operands(
        query=query,
        key=key,
        value=value,
        bias=bias,
        heads=heads,
        kv_heads=_integer(node, "kv_num_heads", heads),
        scale=_scale(node, query, heads),
        softcap=_real(node, "softcap"),
    )


def bias_index(node: ir.Node) -> int:
    """Return which input of a fused node is the bias."""
    return _BIAS_INPUT[node.domain, node.op_type]


def _refuse_unread(node: ir.Node, known: set[int]) -> None:
    unread = [
        str(index)
        for index, value in enumerate(node.inputs)
        if value is not None and index not in known
    ]
    if unread:
        raise ConversionFailed(
            f"{node.op_type} '{node.name}' uses input {', '.join(unread)}, which is not read here"
        )
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        raise ConversionFailed(f"{node.op_type} '{node.name}' has more than one output in use")
    if _integer(node, "do_rotary", 0):
        raise ConversionFailed(f"{node.op_type} '{node.name}' rotates its query and key itself")


def _scale(node: ir.Node, query: ir.Value, heads: int) -> float:
    stated = _real(node, "scale")
    if stated:
        return stated
    width = query.shape[-1] if query.shape is not None else None
    if not isinstance(width, int):
        raise ConversionFailed(
            f"{node.op_type} '{node.name}' has neither a scale nor a known width"
        )
    return float((width / heads) ** -0.5)


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _integer(node: ir.Node, name: str, default: int) -> int:
    return node.attributes.get_int(name, default)


def _real(node: ir.Node, name: str) -> float:
    return node.attributes.get_float(name, 0.0)
