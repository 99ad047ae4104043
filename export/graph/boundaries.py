"""Where the modules of a checkpoint begin and end in its graph.

A value that one module hands to another is the same quantity in PyTorch, so it can be compared:
what leaves a module without children, and what a fused attention hands to the module that reads it.
What stays inside a module is the exporter's own business. Pure, no torch.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from export.graph.fused import FUSED
from export.graph.origin import MODULE

Side = Literal["output", "input"]

_SAME_DATA = frozenset({"Cast", "Identity", "Reshape"})
"""Operators behind which the data still lies in the same order."""


@dataclass(frozen=True, slots=True)
class Boundary:
    """One value of the graph and where the same value is found in PyTorch."""

    layer: str
    """What to call it: the path of the module that computes it."""
    value: ir.Value
    module: str
    """Path of the module that hands the value out or takes it in."""
    side: Side
    run: int
    """How often the module has run before: one that is shared runs once for each layer."""


def boundaries(model: ir.Model, leaves: Collection[str]) -> Iterator[Boundary]:
    """Yield the boundaries of a graph in its order.

    Args:
        model: a graph whose nodes carry their origin; see `export.graph.origin`.
        leaves: paths of the modules without children, the only ones that do what they are called
            for and nothing else.
    """
    runs: Counter[tuple[str, Side]] = Counter()
    for node in model.graph:
        path = node.metadata_props.get(MODULE, "")
        if (node.domain, node.op_type) in FUSED:
            reader = _reader(node.outputs[0], leaves)
            if reader is not None:
                layer = node.name or path
                yield Boundary(layer, node.outputs[0], reader, "input", runs[reader, "input"])
                runs[reader, "input"] += 1
        elif path in leaves:
            for value in node.outputs:
                if _leaves(value, path):
                    yield Boundary(path, value, path, "output", runs[path, "output"])
                    runs[path, "output"] += 1


def _leaves(value: ir.Value, path: str) -> bool:
    """Whether a value is used outside the module that computes it."""
    readers = (node for node, _ in value.uses())
    return value.is_graph_output() or any(
        node.metadata_props.get(MODULE, "") != path for node in readers
    )


def _reader(value: ir.Value, leaves: Collection[str]) -> str | None:
    """Return the path of a module that takes the value in as it is, if there is one."""
    for node, _ in value.uses():
        path = node.metadata_props.get(MODULE, "")
        if path in leaves:
            return path
        if node.op_type in _SAME_DATA:
            found = _reader(node.outputs[0], leaves)
            if found is not None:
                return found
    return None
