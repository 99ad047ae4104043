"""A second graph over the same weights, whose outputs are the attention probabilities.

ONNX Runtime computes every output of a graph on every run, so the probabilities get a file of their
own instead of slowing each request. They are what PyTorch's eager attention returns, with 0 between
different sequences of a row and 0 for padding. Pure, no torch.
"""

from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes import common

from export.errors import ConversionFailed
from export.graph.builder import Builder
from export.graph.decompose import take_apart
from export.graph.select import SEGMENT_IDS

ATTENTIONS = "attentions"
"""(layers, rows, heads, length, length): how much each token (axis 3) attends each other (axis 4).

Where layers differ in shape there is one output `attentions.<layer>` for each instead.
"""

ROLLOUT = "rollout"
"""(rows, length, length): the same from the last layer's tokens back to the input's, over all
layers. Only where every layer attends from the tokens of a row to the same tokens."""

MAX_INLINE_BYTES = 1 << 20
"""Constants that may be in both files. Anything larger is a weight and must be shared."""

_RANK = 4


def explain(model: ir.Model) -> ir.Model:
    """Return the graph that computes the probabilities; `model` stays as it is.

    Initializers keep their names and tensors. What only the outputs of `model` need is left out.

    Raises:
        ConversionFailed: no fused node, or one that does more than attention.
    """
    explained = model.clone()
    layers = take_apart(explained)
    if not layers:
        raise ConversionFailed("the graph holds no fused attention to explain")
    graph = explained.graph
    build = Builder(graph, "explain")
    inside = _inside_segments(build, graph)
    layers = [_only(build, layer, inside) for layer in layers]
    outputs = _attentions(build, layers)
    if _is_one_square(layers):
        outputs.append(_rollout(build, layers))
    graph.outputs[:] = outputs
    graph.sort()
    common.RemoveUnusedNodesPass()(explained)
    common.RemoveUnusedOpsetsPass()(explained)
    return explained


def save_explain(model_path: Path, path: Path, form: ir.Model | None = None) -> ir.Model:
    """Write the explaining graph beside a model whose weights are in a file of their own.

    The new file refers to the same places in the same weights file, which is not written. `form`
    is another form of the same model to explain, for a model that computes less than every token;
    what it reads must be in the model file under the same names.

    Raises:
        ConversionFailed: as `explain`; or a weight is not in the weights file.
    """
    if path.parent.resolve() != model_path.parent.resolve():
        raise ConversionFailed(f"{path.name} must be written beside {model_path.name}")
    model = ir.load(model_path)
    explained = explain(model if form is None else form)
    stored = {name: value.const_value for name, value in model.graph.initializers.items()}
    for name, value in explained.graph.initializers.items():
        own, shared = value.const_value, stored.get(name)
        if isinstance(shared, ir.ExternalTensor) and own is not None and _is_like(own, shared):
            value.const_value = shared
        elif own is not None and own.nbytes > MAX_INLINE_BYTES:
            raise ConversionFailed(
                f"weight {name} is not in a file beside {model_path.name}; "
                "write the model with external data to share its weights"
            )
    ir.save(explained, path)
    return explained


def _is_like(one: ir.TensorProtocol, other: ir.TensorProtocol) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape


def _inside_segments(build: Builder, graph: ir.Graph) -> ir.Value | None:
    """Return FP32 (rows, 1, length, length): 1 between tokens of one sequence, 0 elsewhere."""
    segment_ids = next((value for value in graph.inputs if value.name == SEGMENT_IDS), None)
    if segment_ids is None:
        return None
    queries = build.op("Unsqueeze", [segment_ids, build.integers("queries", [1, 3])])
    keys = build.op("Unsqueeze", [segment_ids, build.integers("keys", [1, 2])])
    real = build.op("Greater", [keys, build.integers("padding", 0)])
    inside = build.op("And", [build.op("Equal", [queries, keys]), real])
    mask = build.op("Cast", [inside], to=ir.DataType.FLOAT)
    mask.dtype = ir.DataType.FLOAT
    if segment_ids.shape is not None:
        rows, length = segment_ids.shape
        mask.shape = ir.Shape([rows, 1, length, length])
    return mask


def _only(build: Builder, layer: ir.Value, inside: ir.Value | None) -> ir.Value:
    """Set what lies outside the sequences to 0, where the layer attends over rows of tokens."""
    if inside is None or _grid(layer) is None or _grid(layer) != _grid(inside):
        return layer
    masked = build.op("Mul", [layer, inside])
    masked.shape, masked.dtype = layer.shape, ir.DataType.FLOAT
    return masked


def _attentions(build: Builder, layers: Sequence[ir.Value]) -> list[ir.Value]:
    shape = layers[0].shape
    if shape is None or any(layer.shape != shape for layer in layers):
        for index, layer in enumerate(layers):
            layer.name = f"{ATTENTIONS}.{index}"
        return list(layers)
    first = build.integers("first_axis", [0])
    stacked = build.op("Concat", [build.op("Unsqueeze", [one, first]) for one in layers], axis=0)
    stacked.name, stacked.dtype = ATTENTIONS, ir.DataType.FLOAT
    stacked.shape = ir.Shape([len(layers), *shape])
    return [stacked]


def _rollout(build: Builder, layers: Sequence[ir.Value]) -> ir.Value:
    """Multiply (A + I) / (rows of A + 1) over the layers (Abnar & Zuidema 2020, arXiv:2005.00928).

    A is the mean over heads. Its rows sum to 1, and to 0 for padding, which so stays with itself.
    """
    one, heads = build.real("one", 1.0), build.integers("head_axis", [1])
    seen = _identity(build, layers[0])
    for layer in layers:
        mean = build.op("ReduceMean", [layer, heads], keepdims=0)
        total = build.op("ReduceSum", [mean, build.integers("key_axis", [2])], keepdims=1)
        mixed = build.op("Add", [build.op("MatMul", [mean, seen]), seen])
        seen = build.op("Div", [mixed, build.op("Add", [total, one])])
    shape = layers[0].shape
    assert shape is not None
    seen.name, seen.dtype = ROLLOUT, ir.DataType.FLOAT
    seen.shape = ir.Shape([shape[0], shape[2], shape[3]])
    return seen


def _identity(build: Builder, layer: ir.Value) -> ir.Value:
    """Return FP32 (length, length) with ones on the diagonal."""
    shape = build.op("Shape", [layer])
    length = build.op("Gather", [shape, build.integers("last", -1)])
    zero, one = build.integers("zero", 0), build.integers("step", 1)
    places = build.op("Range", [zero, length, one])
    column = build.op("Unsqueeze", [places, build.integers("column", [1])])
    return build.op("Cast", [build.op("Equal", [column, places])], to=ir.DataType.FLOAT)


def _is_one_square(layers: Sequence[ir.Value]) -> bool:
    """Whether all layers attend from the same tokens to the same tokens, as far as recorded."""
    grid = _grid(layers[0])
    return grid is not None and grid[1] == grid[2] and all(_grid(one) == grid for one in layers)


def _grid(layer: ir.Value) -> tuple[int | str, int | str, int | str] | None:
    """Return rows, queries and keys, or None where one is not known by number or name."""
    if layer.shape is None or layer.shape.rank() != _RANK:
        return None
    known = [d if isinstance(d, int) else d.value for d in layer.shape]
    rows, _, queries, keys = known
    if rows is None or queries is None or keys is None:
        return None
    return rows, queries, keys
