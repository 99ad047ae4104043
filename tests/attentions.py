"""Small graphs of attention layers built by hand, and the same layers in NumPy.

Inputs `states` (rows, length, WIDTH) and `segment_ids` (rows, length), output `result`. Each layer
projects, attends and projects back, as the exporter leaves it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from export.graph.builder import Builder
from export.graph.fused import DOMAIN, GROUP_QUERY, MULTI_HEAD
from server.runtime.session import Session, SessionConfig

Floats = NDArray[np.float32]

WIDTH = 12
ROWS, LENGTH = 2, 7
MASKED = -1e4
SEGMENT_IDS = np.array([[1, 1, 1, 2, 2, 3, 0], [0, 0, 1, 1, 1, 1, 1]], np.int64)
"""Packed with padding behind, and padded in front."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One attention: with fewer key heads, a cap or a causal mask it is GroupQueryAttention."""

    heads: int = 3
    kv_heads: int = 3
    head_size: int = 4
    softcap: float = 0.0
    causal: bool = False
    window: int = LENGTH
    biased: tuple[bool, bool, bool, bool] = (True, True, True, True)
    """Query, key, value and output projection have a bias."""

    @property
    def shares_heads(self) -> bool:
        return self.kv_heads != self.heads or self.causal or self.softcap > 0

    @property
    def scale(self) -> float:
        # Not the default, which is the root of the head size.
        return 0.9

    def allowed(self) -> NDArray[np.bool_]:
        """(queries, keys) by position alone."""
        behind = np.arange(LENGTH)[:, None] - np.arange(LENGTH)[None]
        near: NDArray[np.bool_] = np.abs(behind) < self.window
        return near & (behind >= 0) if self.causal else near

    def widths(self) -> dict[str, tuple[int, int]]:
        query, shared = self.heads * self.head_size, self.kv_heads * self.head_size
        return {
            "query": (WIDTH, query),
            "key": (WIDTH, shared),
            "value": (WIDTH, shared),
            "output": (query, WIDTH),
        }


def weights(*layers: Layer) -> dict[str, Floats]:
    """Return the same random weights each time, by the names they have in the graph."""
    random = np.random.default_rng(5)
    named: dict[str, Floats] = {}
    for index, layer in enumerate(layers):
        for (name, shape), biased in zip(layer.widths().items(), layer.biased, strict=True):
            # Values keep their size from layer to layer, far below what a mask must outweigh.
            scale = shape[0] ** -0.5
            weight = random.normal(scale=scale, size=shape)
            named[f"{index}.{name}.weight"] = weight.astype(np.float32)
            if biased:
                named[f"{index}.{name}.bias"] = random.normal(size=shape[1:]).astype(np.float32)
    return named


def attention_model(*layers: Layer) -> ir.Model:
    """Return a graph of the layers, one behind the other."""
    states = ir.val("states", ir.DataType.FLOAT, ["rows", "length", WIDTH])
    segment_ids = ir.val("segment_ids", ir.DataType.INT64, ["rows", "length"])
    graph = ir.Graph(
        [states, segment_ids], [], nodes=[], opset_imports={"": 20, DOMAIN: 1}, name="layers"
    )
    build = Builder(graph, "test")
    named = {name: _initializer(graph, name, array) for name, array in weights(*layers).items()}
    value = states
    for index, layer in enumerate(layers):
        bias = _bias(build, segment_ids, layer, index)
        value = _attend(graph, build, value, bias, layer, f"{index}.", named)
    value.name = "result"
    graph.outputs.append(value)
    return ir.Model(graph, ir_version=10)


def sharing_model(layer: Layer) -> ir.Model:
    """Return a graph of two layers that read the same weights."""
    model = attention_model(layer, layer)
    for name in weights(layer):
        own = model.graph.initializers[f"1.{name.removeprefix('0.')}"]
        ir.convenience.replace_all_uses_with(own, model.graph.initializers[name])
    return model


def run(model: ir.Model, path: Path, **feeds: NDArray[np.generic]) -> list[Floats]:
    """Write the graph and run it as served; by default on `inputs()`."""
    ir.save(model, path)
    session = Session(path, SessionConfig())
    found = session.run(feeds or {name: inputs()[name] for name in session.input_names})
    return [np.asarray(output, np.float32) for output in found]


def inputs() -> Mapping[str, NDArray[np.generic]]:
    """Return states and segments."""
    states = np.random.default_rng(6).normal(size=(ROWS, LENGTH, WIDTH)).astype(np.float32)
    return {"states": states, "segment_ids": SEGMENT_IDS}


def probabilities(*layers: Layer) -> list[NDArray[np.float64]]:
    """Return (rows, heads, length, length) of each layer, with 0 outside the sequences."""
    named = {name: array.astype(np.float64) for name, array in weights(*layers).items()}
    value = np.asarray(inputs()["states"], np.float64)
    same = (SEGMENT_IDS[:, None, :, None] == SEGMENT_IDS[:, None, None, :]) & (
        SEGMENT_IDS[:, None, None, :] > 0
    )
    found = []
    for index, layer in enumerate(layers):
        query, key, values = (
            _by_head(_project(value, named, f"{index}.{name}"), layer)
            for name in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(2, 3) * layer.scale
        if layer.softcap:
            scores = layer.softcap * np.tanh(scores / layer.softcap)
        # Padding attends padding inside the graph, so that no row is empty.
        visible = layer.allowed() & (SEGMENT_IDS[:, None, :, None] == SEGMENT_IDS[:, None, None, :])
        scores = np.exp(np.where(visible, scores, -np.inf))
        shares = scores / scores.sum(axis=3, keepdims=True)
        found.append(shares * same)
        context = (shares @ values).swapaxes(1, 2).reshape(ROWS, LENGTH, -1)
        value = _project(context, named, f"{index}.output")
    return found


def _project(
    value: NDArray[np.float64], named: Mapping[str, NDArray[np.float64]], name: str
) -> NDArray[np.float64]:
    shifted: NDArray[np.float64] = value @ named[f"{name}.weight"] + named.get(f"{name}.bias", 0.0)
    return shifted


def _by_head(flat: NDArray[np.float64], layer: Layer) -> NDArray[np.float64]:
    split = flat.reshape(ROWS, LENGTH, -1, layer.head_size).swapaxes(1, 2)
    return np.repeat(split, layer.heads // split.shape[1], axis=1)


def _initializer(graph: ir.Graph, name: str, array: Floats) -> ir.Value:
    value = ir.Value(
        name=name,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(ir.DataType.FLOAT),
        const_value=ir.tensor(array, name=name),
    )
    graph.register_initializer(value)
    return value


def _bias(build: Builder, segment_ids: ir.Value, layer: Layer, index: int) -> ir.Value:
    queries = build.op("Unsqueeze", [segment_ids, build.integers("queries", [1, 3])])
    keys = build.op("Unsqueeze", [segment_ids, build.integers("keys", [1, 2])])
    same = build.op("Equal", [queries, keys])
    visible = build.op("And", [same, build.constant(f"{index}.allowed", layer.allowed())])
    bias = build.op("Where", [visible, build.real("zero", 0.0), build.real("masked", MASKED)])
    bias.dtype, bias.shape = ir.DataType.FLOAT, ir.Shape(["rows", 1, "length", "length"])
    return bias


def _attend(  # noqa: PLR0917 - a graph under construction
    graph: ir.Graph,
    build: Builder,
    states: ir.Value,
    bias: ir.Value,
    layer: Layer,
    prefix: str,
    named: Mapping[str, ir.Value],
) -> ir.Value:
    query, key, value = (
        linear(build, states, named, f"{prefix}{name}") for name in ("query", "key", "value")
    )
    if layer.shares_heads:
        lengths = build.constant("lengths", np.full(ROWS, LENGTH - 1, np.int32))
        total = build.constant("total", np.array(LENGTH, np.int32))
        operands = [query, key, value, None, None, lengths, total, None, None, None, bias]
        attributes: dict[str, int | float] = {
            "num_heads": layer.heads,
            "kv_num_heads": layer.kv_heads,
            "softcap": layer.softcap,
            "causal": int(layer.causal),
        }
        op_type = GROUP_QUERY
    else:
        operands = [query, key, value, None, None, bias]
        attributes, op_type = {"num_heads": layer.heads}, MULTI_HEAD
    node = ir.node(
        op_type, operands, {**attributes, "scale": layer.scale}, domain=DOMAIN, name=f"{prefix}node"
    )
    graph.append(node)
    (context,) = node.outputs
    context.dtype = ir.DataType.FLOAT
    context.shape = ir.Shape(["rows", "length", layer.heads * layer.head_size])
    return linear(build, context, named, f"{prefix}output")


def linear(build: Builder, source: ir.Value, named: Mapping[str, ir.Value], name: str) -> ir.Value:
    """Write the MatMul of a projection, and the Add of its bias if it has one."""
    weight = named[f"{name}.weight"]
    value = build.op("MatMul", [source, weight])
    if (bias := named.get(f"{name}.bias")) is not None:
        value = build.op("Add", [value, bias])
    assert source.shape is not None
    assert weight.shape is not None
    value.dtype = ir.DataType.FLOAT
    value.shape = ir.Shape([*source.shape[:2], weight.shape[1]])
    return value
