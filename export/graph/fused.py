"""The fused attention operators: their names, and how many of them a graph holds.

ONNX Runtime contrib operators, version 1 each. `com.microsoft.MultiHeadAttention`: query, key and
value as rows x length x hidden, input 6 (index 5) the additive attention bias.
`com.microsoft.GroupQueryAttention`: the same with fewer key heads, input 11 (index 10) the bias.
Pure, no torch.
"""

from collections.abc import Iterator

import onnx_ir as ir

DOMAIN = "com.microsoft"
MULTI_HEAD = "MultiHeadAttention"
GROUP_QUERY = "GroupQueryAttention"

FUSED = frozenset({(DOMAIN, MULTI_HEAD), (DOMAIN, GROUP_QUERY), ("", "Attention")})
"""Domain and type of every operator that is one whole attention."""


def fused_nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Yield the fused attention nodes in graph order."""
    return (node for node in model.graph.all_nodes() if (node.domain, node.op_type) in FUSED)


def count_fused(model: ir.Model) -> int:
    """Return the number of fused attention nodes in the graph."""
    return sum(1 for _ in fused_nodes(model))
