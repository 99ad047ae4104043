"""INT8 linear layers whose answers do not depend on what else is in the batch.

ONNX Runtime's own dynamic quantisation takes one scale from the whole batch, so neighbours change a
request's answer. Here every token has a scale of its own, which the product is multiplied by in a
step of its own: `MatMulInteger -> Cast -> Mul` in one piece is what ONNX Runtime fuses wrongly.

Given recorded ranges, channels of normalised states with outliers are first brought down, and their
weights up, as in SmoothQuant (Xiao et al. 2023, arXiv:2211.10438). On request such states also get
one scale fixed at export: less work and less exact.

Activations are unsigned, weights signed with one scale for each output: the only combination that
x86 kernels are fast at. A pass on the finished graph for the CPU provider. Pure, no torch.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

from export.graph import smooth, weights
from export.graph.builder import Builder
from export.graph.fused import DOMAIN, MULTI_HEAD
from export.graph.linear import Linear
from export.graph.ranges import Range, Ranges
from export.graph.weights import Matrix

OPSET = 21
"""The first whose QuantizeLinear takes a scale for each token as it comes, without a Reshape."""

FULL, REDUCED = 127, 63
"""Largest rounded weight. x86 without VNNI adds two products in 16 bits, which only 7-bit weights
cannot overflow."""

_STEPS = 255
_MIDDLE = 128
"""Zero point of values as often negative as positive."""

_STEADY = frozenset({"LayerNormalization", MULTI_HEAD})
"""Operators whose outputs have much the same reach in every token. Fixed scales for them cost
MiniLM 0.0004 of mean cosine and gain a tenth in speed; for GELU's they would cost 0.003."""

_FLOORS = {"Gelu": (0.1701, 24), "Relu": (0.0, 0)}
"""Operator -> lowest output, as a positive number, and the zero point that leaves room for it."""

_HEADROOM = 1.25
"""Fixed ranges over recorded ones: what is recorded is a sample."""

_MAY_BE_EMPTY = 2
"""Rank of a choice of vectors, by sequence or by mask token. Rows of tokens always hold some."""

_TINY = 1e-8
"""Smallest scale: a token of zeros is not divided by 0."""


@dataclass(frozen=True, slots=True)
class _Rounded:
    """The input of linear layers in eight bits: `(value - zero) * scale * token_scale`."""

    value: ir.Value
    zero: int
    scale: float
    token_scale: ir.Value | None
    """FP32, the shape of the input with one channel; none where the scale is fixed."""
    factors: Matrix | None = None
    """What each channel was divided by."""


def quantize(
    model: ir.Model,
    *,
    keep: Collection[str] = (),
    ranges: Ranges | None = None,
    fixed: bool = False,
    reduce_range: bool = False,
) -> tuple[str, ...]:
    """Round linear layers and large embedding tables in place; return the names of their weights.

    Layers named in `keep` stay in float. `ranges` halves the loss; `fixed` needs it and gives
    normalised states and attention one scale for all tokens. Weights for x86 processors without
    VNNI need `reduce_range`.

    Raises:
        ConversionFailed: the graph has an operator that opset 21 changed.
    """
    layers = weights.layers(model, keep)
    tables = weights.tables(model, keep)
    names = weights.names([one.weight for one in layers] + [table for _, table in tables])
    if not names:
        return ()
    weights.require_opset(model, OPSET)
    model.opset_imports[DOMAIN] = 1
    build = Builder(model.graph, "int8")
    largest = REDUCED if reduce_range else FULL
    for source in dict.fromkeys(one.source for one in layers):
        group = [one for one in layers if one.source is source]
        rounded = _round_input(build, group, (ranges or {}).get(str(source.name)), fixed=fixed)
        for layer in group:
            _multiply(model.graph, build, layer, rounded, largest)
    for node, table in tables:
        _look_up(model.graph, build, node, table)
    # The new nodes were written at the end of the graph.
    model.graph.sort()
    common.RemoveUnusedNodesPass()(model)
    return names


def _round_input(
    build: Builder, group: Sequence[Linear], known: Range | None, *, fixed: bool
) -> _Rounded:
    """Round what a group of layers reads, once for all of them."""
    source = group[0].source
    maker = smooth.maker(source)
    op_type = "" if maker is None else maker.op_type
    factors = None
    if known is not None and smooth.is_normalised(source) and _are_unshared(group):
        factors = smooth.factors(known, [weights.matrix(layer.weight) for layer in group])
        known = Range(known.low / factors, known.high / factors)
        inverse = build.constant(f"{source.name}.factors", np.reciprocal(factors))
        shape = source.shape
        source = build.op("Mul", [source, inverse])
        source.shape, source.dtype = shape, ir.DataType.FLOAT
    # Without factors, outliers would take most of the steps of a scale that is fixed.
    steady = op_type == MULTI_HEAD or (op_type in _STEADY and factors is not None)
    if fixed and known is not None and steady:
        rounded = _round_fixed(build, source, known)
    else:
        channels = weights.shape(group[0].weight)[0]
        rounded = _round_by_token(build, source, channels, op_type)
    return replace(rounded, factors=factors)


def _round_fixed(build: Builder, source: ir.Value, known: Range) -> _Rounded:
    low = _HEADROOM * min(float(known.low.min()), 0.0)
    high = _HEADROOM * max(float(known.high.max()), 0.0)
    scale = max((high - low) / _STEPS, _TINY)
    zero = round(-low / scale)
    value = build.op(
        "QuantizeLinear", [source, build.real(f"scale.{scale!r}", scale), _byte(build, zero)]
    )
    return _Rounded(value, zero, scale, None)


def _round_by_token(build: Builder, source: ir.Value, channels: int, op_type: str) -> _Rounded:
    axis = build.integers("channels", [-1])
    floor, zero = _FLOORS.get(op_type, (None, _MIDDLE))
    high = build.op("ReduceMax", [source, axis], keepdims=1)
    # 255 steps from 0 to 255; around the middle one less, so that both signs reach equally far.
    above = _STEPS - zero if floor is not None else _MIDDLE - 1
    bounds = [build.op("Mul", [high, _real(build, 1 / above)])]
    if floor is None:
        low = build.op("ReduceMin", [source, axis], keepdims=1)
        bounds.append(build.op("Mul", [low, _real(build, -1 / above)]))
    least = max(_TINY, floor / zero if floor else 0.0)
    scale = build.op("Max", [*bounds, _real(build, least)])
    if source.shape is None or source.shape.rank() == _MAY_BE_EMPTY:
        # ONNX Runtime reduces nothing to nothing, in the shape it came.
        first, last = build.integers("first", [0]), build.integers("one", [1])
        scale = build.op("Slice", [scale, first, last, axis])
    zeros = build.op("Expand", [_byte(build, zero), build.op("Shape", [scale])])
    # One block of all channels: a scale for each token.
    value = build.op("QuantizeLinear", [source, scale, zeros], axis=-1, block_size=channels)
    return _Rounded(value, zero, 1.0, scale)


def _multiply(
    graph: ir.Graph, build: Builder, layer: Linear, rounded: _Rounded, largest: int
) -> None:
    """Replace a linear layer; the bias stays in its Add where a token's scale comes before it."""
    label = weights.name(layer.weight)
    scale = _column_scales(layer.weight, rounded.factors, largest)
    matrix = weights.stored(
        graph,
        f"{label}.int8",
        ir.DataType.INT8,
        weights.shape(layer.weight),
        lambda: _round(_scaled(layer.weight, rounded.factors), scale, largest),
    )
    fixed = rounded.token_scale is None
    node = ir.node(
        "MatMulIntegerToFloat",
        [
            rounded.value,
            matrix,
            _real(build, rounded.scale),
            build.constant(f"{label}.scale", scale),
            _byte(build, rounded.zero),
            None,
            layer.bias if fixed else None,
        ],
        domain=DOMAIN,
        # ALBERT runs the same weights several times, and names of nodes are unique.
        name=weights.node_name(layer),
    )
    graph.append(node)
    if rounded.token_scale is None:
        weights.replace(layer.output, node.outputs[0])
    else:
        product = build.op("Mul", [node.outputs[0], rounded.token_scale])
        weights.replace(layer.product, product)


def _look_up(graph: ir.Graph, build: Builder, node: ir.Node, table: ir.Value) -> None:
    """Store a table of embeddings with one scale for each row."""
    label = weights.name(table)
    scale = _scales(np.abs(weights.matrix(table)).max(axis=1, keepdims=True), FULL)
    rows = weights.stored(
        graph,
        f"{label}.rows.int8",
        ir.DataType.INT8,
        weights.shape(table),
        lambda: _round(weights.matrix(table), scale, FULL),
    )
    indices = node.inputs[1]
    found = build.op("Cast", [build.op("Gather", [rows, indices])], to=ir.DataType.FLOAT)
    scales = build.op("Gather", [build.constant(f"{label}.rows.scale", scale), indices])
    weights.replace(node.outputs[0], build.op("Mul", [found, scales]))


def _scaled(weight: ir.Value, factors: Matrix | None) -> Matrix:
    matrix = weights.matrix(weight)
    return matrix if factors is None else matrix * factors[:, np.newaxis]


def _column_scales(weight: ir.Value, factors: Matrix | None, largest: int) -> Matrix:
    return _scales(np.abs(_scaled(weight, factors)).max(axis=0), largest)


def _scales(reach: Matrix, largest: int) -> Matrix:
    return np.where(reach > 0, reach / largest, 1).astype(np.float32)


def _round(matrix: Matrix, scale: Matrix, largest: int) -> NDArray[np.int8]:
    rounded: NDArray[np.int8] = np.clip(np.rint(matrix / scale), -largest, largest).astype(np.int8)
    return rounded


def _are_unshared(group: Sequence[Linear]) -> bool:
    """Whether no other layer uses the same weights, which could not have two sets of factors."""
    return all(len(layer.weight.uses()) == 1 for layer in group)


def _real(build: Builder, value: float) -> ir.Value:
    return build.real(f"real.{value!r}", value)


def _byte(build: Builder, value: int) -> ir.Value:
    return build.constant(f"byte.{value}", np.array(value, np.uint8))
