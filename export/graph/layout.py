"""Lay the projections of attention out as one matrix product.

One MatMul with the weights of query, key and value side by side starts fewer kernels, but its
result has to be cut up and copied. Which is faster depends on provider and size, so it is measured.
Pure, no torch.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from export.graph import linear
from export.graph.builder import Builder
from export.graph.fused import fused_nodes
from export.graph.linear import Array, Linear

_AT_LEAST = 2


def merge_projections(model: ir.Model) -> int:
    """Merge projections of each attention that read the same value; return the MatMuls saved.

    Widths may differ, as they do where heads share keys; in cross attention key and value are
    merged. Weights that are not plain matrices stay as they are.
    """
    saved = 0
    for node in list(fused_nodes(model)):
        for group in _groups(node):
            _merge(model.graph, group)
            saved += len(group) - 1
    if saved:
        # The new nodes were written at the end of the graph.
        model.graph.sort()
        common.RemoveUnusedNodesPass()(model)
    return saved


def _groups(node: ir.Node) -> Iterator[list[Linear]]:
    """Yield the projections behind query, key and value, by what they read."""
    found = [_projection(value) for value in node.inputs[:3]]
    projections = list({one.product: one for one in found if one is not None}.values())
    for source in dict.fromkeys(one.source for one in projections):
        group = [one for one in projections if one.source is source]
        if len(group) >= _AT_LEAST and len({linear.tensor(one.weight).dtype for one in group}) == 1:
            yield group


def _projection(value: ir.Value | None) -> Linear | None:
    """Return the one linear layer that a value comes from, through rotations and norms."""
    found: dict[ir.Value, Linear] = {}
    seen: set[ir.Value] = set()
    waiting = [value]
    while waiting:
        one = waiting.pop()
        node = one.producer() if one is not None else None
        if one is None or node is None or one in seen:
            continue
        seen.add(one)
        layer = linear.starting_at(node)
        if layer is None:
            waiting.extend(node.inputs)
        else:
            found[layer.product] = layer
    return next(iter(found.values())) if len(found) == 1 else None


def _merge(graph: ir.Graph, group: Sequence[Linear]) -> None:
    build = Builder(graph, "projections")
    widths = [one.width for one in group]
    size = linear.tensor(group[0].weight).shape.numpy()[0]
    weights = [one.weight for one in group]
    name = "+".join(str(weight.name) for weight in weights)
    merged = linear.computed(
        graph, name, weights[0], (size, sum(widths)), lambda: _side_by_side(weights)
    )
    result = build.op("MatMul", [group[0].source, merged])
    if any(one.bias is not None for one in group):
        # A projection without a bias gets zeros.
        name = "+".join("0" if one.bias is None else str(one.bias.name) for one in group)
        bias = linear.computed(
            graph, f"{name}.{widths}", weights[0], (sum(widths),), lambda: _end_to_end(group)
        )
        result = build.op("Add", [result, bias])
    split = ir.node(
        "Split",
        [result, build.integers("widths." + ".".join(map(str, widths)), widths)],
        {"axis": -1},
        num_outputs=len(group),
    )
    graph.append(split)
    for one, part in zip(group, split.outputs, strict=True):
        old = one.output
        part.name, part.shape, part.type = old.name, old.shape, old.type
        ir.convenience.replace_all_uses_with(old, part, replace_graph_outputs=True)
        old.name = None


def _side_by_side(weights: Sequence[ir.Value]) -> Array:
    return np.concatenate([linear.tensor(weight).numpy() for weight in weights], axis=1)


def _end_to_end(group: Sequence[Linear]) -> Array:
    return np.concatenate(
        [
            np.zeros(one.width) if one.bias is None else linear.tensor(one.bias).numpy()
            for one in group
        ]
    )
