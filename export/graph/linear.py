"""A linear layer as the exporter leaves it: a MatMul with a matrix of weights, and perhaps an Add.

Finding them, and weights computed from other weights only when they are written. Pure, no torch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Linear:
    """`output = source @ weight + bias`."""

    source: ir.Value
    weight: ir.Value
    """(inputs, outputs), an initializer."""
    bias: ir.Value | None
    """(outputs), an initializer."""
    output: ir.Value
    product: ir.Value
    """The output of the MatMul; `output` itself where there is no bias."""

    @property
    def width(self) -> int:
        """Number of outputs."""
        return tensor(self.weight).shape.numpy()[1]


def starting_at(node: ir.Node) -> Linear | None:
    """Return the linear layer of a MatMul, with the bias if its only use is to get one."""
    source, weight = (*node.inputs, None, None)[:2]
    if node.op_type != "MatMul" or node.domain or source is None or not _is_constant(weight, 2):
        return None
    assert weight is not None
    (product,) = node.outputs
    add = only_user(product)
    if add is not None and add.op_type == "Add" and not add.domain:
        bias = next(value for value in add.inputs if value is not product)
        if _is_constant(bias, 1):
            return Linear(source, weight, bias, add.outputs[0], product)
    return Linear(source, weight, None, product, product)


def ending_in(value: ir.Value) -> Linear | None:
    """Return the linear layer whose output is `value`."""
    node = value.producer()
    if node is None or node.domain:
        return None
    if node.op_type == "Add":
        makers = [part.producer() for part in node.inputs if part is not None]
        node = next((one for one in makers if one is not None and one.op_type == "MatMul"), None)
    found = None if node is None else starting_at(node)
    return found if found is not None and found.output is value else None


def only_user(value: ir.Value) -> ir.Node | None:
    """Return the node that uses a value, if nothing else does."""
    if value.is_graph_output():
        return None
    users = [use.node for use in value.uses()]
    return users[0] if len(users) == 1 else None


def tensor(initializer: ir.Value) -> ir.TensorProtocol:
    """Return the tensor of an initializer."""
    assert initializer.const_value is not None
    return initializer.const_value


def computed(
    graph: ir.Graph, name: str, like: ir.Value, shape: tuple[int, ...], compute: Callable[[], Array]
) -> ir.Value:
    """Register an initializer with the type of another that is computed each time it is read.

    Layers that share their weights share what is computed from them: the name says from what.
    """
    if name in graph.initializers:
        return graph.initializers[name]
    dtype = tensor(like).dtype
    value = ir.Value(
        name=name,
        shape=ir.Shape(shape),
        type=ir.TensorType(dtype),
        # Lazy: the copy exists only while it is written.
        const_value=ir.LazyTensor(
            lambda: ir.tensor(compute().astype(dtype.numpy())),
            dtype=dtype,
            shape=ir.Shape(shape),
            name=name,
        ),
    )
    graph.register_initializer(value)
    return value


def _is_constant(value: ir.Value | None, rank: int) -> bool:
    return (
        value is not None
        and value.is_initializer()
        and value.const_value is not None
        and len(value.const_value.shape) == rank
    )
