"""What values reach each linear layer: the smallest and largest of every channel.

A copy of the graph hands them out; whoever has a session runs it on inputs of the model's own kind.
Random token ids do as well as real text: MiniLM rounded by either agrees with FP32 to 0.999 mean
cosine. Pure, no torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

from export.graph import weights
from export.graph.builder import Builder

_LOW, _HIGH = ".low", ".high"

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Range:
    """Smallest and largest value of every channel, FP32 (channels)."""

    low: NDArray[np.float32]
    high: NDArray[np.float32]


Ranges = Mapping[str, Range]
"""By the name of the value that a linear layer reads."""


def tap(model: ir.Model) -> ir.Model:
    """Return a graph with the model's inputs whose outputs are the ranges of one run.

    `model` stays as it is; the copy shares its weights.
    """
    tapped = model.clone()
    graph = tapped.graph
    sources = {layer.source: layer.weight for layer in weights.layers(tapped)}
    build = Builder(graph, "ranges")
    outputs = []
    for source, weight in sources.items():
        channels = weights.shape(weight)[0]
        flat = build.op("Reshape", [source, build.integers(f"flat.{channels}", [-1, channels])])
        for op_type, suffix in (("ReduceMin", _LOW), ("ReduceMax", _HIGH)):
            found = build.op(op_type, [flat, build.integers("tokens", [0])], keepdims=0)
            found.name = f"{source.name}{suffix}"
            found.dtype, found.shape = ir.DataType.FLOAT, ir.Shape([channels])
            outputs.append(found)
    graph.outputs[:] = outputs
    graph.sort()
    common.RemoveUnusedNodesPass()(tapped)
    return tapped


def join(outputs: Sequence[str], runs: Iterable[Sequence[Array]]) -> dict[str, Range]:
    """Return the ranges over several runs of a tapped graph, given the names of its outputs."""
    low: dict[str, NDArray[np.float32]] = {}
    high: dict[str, NDArray[np.float32]] = {}
    for run in runs:
        for output, array in zip(outputs, run, strict=True):
            found = array.astype(np.float32)
            if output.endswith(_LOW):
                source = output.removesuffix(_LOW)
                low[source] = np.minimum(low.get(source, found), found)
            else:
                source = output.removesuffix(_HIGH)
                high[source] = np.maximum(high.get(source, found), found)
    return {source: Range(low[source], high[source]) for source in low}
