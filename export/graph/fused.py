"""The fused attention operator: its name, and how many of it a graph holds.

ONNX Runtime contrib operators, `com.microsoft.MultiHeadAttention` version 1: query, key and value
as rows x length x hidden, input 6 (index 5) the additive attention bias. Pure, no torch.
"""

import onnx_ir as ir

DOMAIN = "com.microsoft"
OP_TYPE = "MultiHeadAttention"


def count_fused(model: ir.Model) -> int:
    """Return the number of fused attention nodes in the graph."""
    return sum((node.domain, node.op_type) == (DOMAIN, OP_TYPE) for node in model.graph.all_nodes())
