"""Which module of the checkpoint a node comes from.

The tracer writes its module stack, stack traces and file names into the metadata of every node.
What proofs need of it is kept under two keys; the rest names places of the machine that exported.
Pure, no torch.
"""

import ast
from collections import Counter

import onnx_ir as ir

from export.graph.fused import FUSED

MODULE = "module"
"""Metadata key: path of the module inside the model, as in `encoder.layer.0.attention.self`."""

CLASS = "class"
"""Metadata key: name of its Python class."""

_SCOPES = "pkg.torch.onnx.name_scopes"
_CLASSES = "pkg.torch.onnx.class_hierarchy"


def keep_origins(model: ir.Model) -> None:
    """Reduce the metadata of every node to its module and class; name fused nodes after them."""
    runs: Counter[str] = Counter()
    for node in model.graph.all_nodes():
        module, kind = _innermost(node)
        node.metadata_props.clear()
        node.doc_string = None
        if not module:
            continue
        node.metadata_props.update({MODULE: module, CLASS: kind})
        if (node.domain, node.op_type) in FUSED:
            # ALBERT runs one module several times, and names are unique.
            runs[module] += 1
            node.name = module if runs[module] == 1 else f"{module}#{runs[module]}"
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.metadata_props.clear()


def _innermost(node: ir.Node) -> tuple[str, str]:
    scopes, classes = node.metadata_props.get(_SCOPES), node.metadata_props.get(_CLASSES)
    if not scopes or not classes:
        return "", ""
    # Python lists of strings, written by the exporter. The last entry is the operation itself.
    paths, kinds = ast.literal_eval(scopes)[:-1], ast.literal_eval(classes)[:-1]
    if not paths or not kinds:
        return "", ""
    # The wrapper that was traced calls the model by one attribute name, which says nothing.
    return paths[-1].partition(".")[2] or paths[-1], kinds[-1].rpartition(".")[2]
