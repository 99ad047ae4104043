"""Bring channels with outliers down and their weights up before both are rounded.

`x W = (x / f) (f W)` for any factors f. Normalised states have a few channels that reach ten times
as far as the rest, which takes the precision from all others; weights have room for it
(SmoothQuant, Xiao et al. 2023, arXiv:2211.10438). Pure, no torch.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from export.graph import linear
from export.graph.ranges import Range
from export.graph.weights import Matrix

NORMS = frozenset({"LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization"})

_TO_WEIGHTS = 0.65
"""How much of a channel's reach goes into the weights. MiniLM is best between 0.5 and 0.8."""

_NEGLIGIBLE = 1e-3
"""Channels and rows below this part of the largest are treated as if they reached it."""

_TINY = 1e-8


def factors(known: Range, matrices: Sequence[Matrix]) -> Matrix:
    """Return what to divide each channel by, around 1, for all matrices (channels, outputs)."""
    reach = _at_least(np.maximum(-known.low, known.high))
    rows = _at_least(np.max([np.abs(matrix).max(axis=1) for matrix in matrices], axis=0))
    logarithms = _TO_WEIGHTS * np.log(reach) - (1 - _TO_WEIGHTS) * np.log(rows)
    found: Matrix = np.exp(logarithms - logarithms.mean()).astype(np.float32)
    return found


def maker(value: ir.Value) -> ir.Node | None:
    """Return the node that a value's channels come from, behind any Reshape that keeps them."""
    node = value.producer()
    while node is not None and node.op_type == "Reshape":
        before = node.inputs[0]
        if before is None or not _same_channels(before.shape, node.outputs[0].shape):
            break
        node = before.producer()
    return node


def is_normalised(value: ir.Value) -> bool:
    """Whether channels have gains of their own: a normalisation, whole or its last step.

    What attention and activations hand out differs from text to text; factors for it, recorded on
    other text, did harm.
    """
    node = maker(value)
    if node is None or node.op_type in NORMS:
        return node is not None
    gains = [one for one in node.inputs if one is not None and one.is_initializer()]
    return node.op_type == "Mul" and any(len(linear.tensor(one).shape) == 1 for one in gains)


def _at_least(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.maximum(values, max(_NEGLIGIBLE * float(values.max()), _TINY))


def _same_channels(before: ir.Shape | None, after: ir.Shape | None) -> bool:
    """Whether the last dimension is known and stays."""
    if before is None or after is None:
        return False
    return isinstance(before[-1], int) and before[-1] == after[-1]
