"""Take fused attention apart into matrix products and a Softmax.

What PyTorch's eager attention would have been exported as: the baseline that a fused graph must
beat, and the way to the probabilities, which no fused operator hands out on every provider. Uses
operators of the standard domain only. Pure, no torch.
"""

import onnx_ir as ir

from export.graph.builder import Builder
from export.graph.fused import fused_nodes
from export.graph.operands import Operands, read

_BY_HEAD = (0, 2, 1, 3)
"""(rows, length, heads, size) to (rows, heads, length, size), and back."""

_TURNED = (0, 2, 3, 1)
"""(rows, length, heads, size) to (rows, heads, size, length)."""


def decompose(model: ir.Model) -> None:
    """Replace every fused node by what it computes.

    Raises:
        ConversionFailed: a node does more than attention.
    """
    take_apart(model)


def take_apart(model: ir.Model) -> list[ir.Value]:
    """Decompose, and return the probabilities (rows, heads, queries, keys) of each node in order.

    Raises:
        ConversionFailed: a node does more than attention; the graph may be half done.
    """
    probabilities = [_replace(model.graph, node) for node in list(fused_nodes(model))]
    # The pieces were written at the end of the graph.
    model.graph.sort()
    return probabilities


def _replace(graph: ir.Graph, node: ir.Node) -> ir.Value:
    parts = read(node)
    build = Builder(graph, "attention")
    probabilities = _probabilities(build, parts)
    value = _repeated(build, parts.value, parts)
    context = build.op("MatMul", [probabilities, build.op("Transpose", [value], perm=_BY_HEAD)])
    by_token = build.op("Transpose", [context], perm=_BY_HEAD)
    joined = build.op("Reshape", [by_token, build.integers("joined", [0, 0, -1])])
    old = node.outputs[0]
    joined.name, joined.shape, joined.type = old.name, old.shape, old.type
    ir.convenience.replace_all_uses_with(old, joined, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    return probabilities


def _probabilities(build: Builder, parts: Operands) -> ir.Value:
    query = build.op("Transpose", [_split(build, parts.query, parts.heads)], perm=_BY_HEAD)
    key = build.op("Transpose", [_repeated(build, parts.key, parts)], perm=_TURNED)
    scores = build.op("MatMul", [query, key])
    scores = build.op("Mul", [scores, build.real(f"scale.{parts.scale!r}", parts.scale)])
    if parts.softcap:
        cap = build.real(f"softcap.{parts.softcap!r}", parts.softcap)
        scores = build.op("Mul", [build.op("Tanh", [build.op("Div", [scores, cap])]), cap])
    if parts.bias is not None:
        scores = build.op("Add", [scores, parts.bias])
    probabilities = build.op("Softmax", [scores], axis=-1)
    probabilities.dtype = ir.DataType.FLOAT
    probabilities.shape = _shape(parts)
    return probabilities


def _split(build: Builder, flat: ir.Value, heads: int) -> ir.Value:
    """(rows, length, hidden) to (rows, length, heads, size)."""
    return build.op("Reshape", [flat, build.integers(f"heads.{heads}", [0, 0, heads, -1])])


def _repeated(build: Builder, flat: ir.Value, parts: Operands) -> ir.Value:
    """Split key or value into as many heads as the query has, each shared one repeated."""
    if parts.heads == parts.kv_heads:
        return _split(build, flat, parts.heads)
    group = parts.heads // parts.kv_heads
    target = build.integers(f"shared.{parts.kv_heads}", [0, 0, parts.kv_heads, 1, -1])
    repeats = build.integers(f"repeats.{group}", [1, 1, 1, group, 1])
    repeated = build.op("Expand", [build.op("Reshape", [flat, target]), repeats])
    # The first two dimensions stay, the repetitions join the heads.
    heads = build.integers(f"heads.{parts.heads}", [0, 0, parts.heads, -1])
    return build.op("Reshape", [repeated, heads])


def _shape(parts: Operands) -> ir.Shape | None:
    query, key = parts.query.shape, parts.key.shape
    if query is None or key is None:
        return None
    return ir.Shape([query[0], parts.heads, query[1], key[1]])
