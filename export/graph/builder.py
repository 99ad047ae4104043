"""Append nodes and constants to a finished graph."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.tape import Tape


class Builder:
    """Writes nodes at the end of a graph; its constants carry the prefix given."""

    def __init__(self, graph: ir.Graph, prefix: str) -> None:
        self._graph = graph
        self._tape = Tape(graph)
        self._prefix = prefix

    def op(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        **attributes: float | str | Sequence[int],
    ) -> ir.Value:
        """Add a node of the standard domain and return its output."""
        return self._tape.op(op_type, inputs, attributes)

    def integers(self, name: str, value: int | Sequence[int]) -> ir.Value:
        """Add an INT64 constant."""
        return self.constant(name, np.array(value, np.int64))

    def real(self, name: str, value: float) -> ir.Value:
        """Add an FP32 scalar."""
        return self.constant(name, np.array(value, np.float32))

    def constant(self, name: str, array: NDArray[np.generic]) -> ir.Value:
        """Add a constant, or return the one of that name."""
        full_name = f"{self._prefix}.{name}"
        existing = self._graph.initializers.get(full_name)
        if existing is not None:
            return existing
        return self._tape.initializer(ir.tensor(array, name=full_name))
