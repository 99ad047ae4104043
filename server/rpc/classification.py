"""The largest values of each row as text: the classification extension. Pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from server.errors import InvalidRequest
from server.repository.manifest import TensorSpec
from server.tensor import Tensor

RANK = 2
"""Rows and classes; an output of another rank has no one answer per row."""


def require_classes(num_classes: int, spec: TensorSpec) -> None:
    """Refuse a classification that the output cannot give, before anything is run.

    Raises:
        InvalidRequest: the output is not rows of classes, or has fewer of them.
    """
    if len(spec.shape) != RANK:
        raise InvalidRequest(
            f"output '{spec.name}' has shape {list(spec.shape)}; classification needs rows and "
            "classes, leave it out"
        )
    _require_within(num_classes, spec.name, spec.shape[1])


def classified(tensor: Tensor, num_classes: int, labels: Sequence[str]) -> Tensor:
    """Return the largest values of each row, each as `value:index` or `value:index:label`.

    Equal values come in the order of their indices, and what is no number comes last. Labels are
    left out where they are not one for each class.

    Raises:
        InvalidRequest: there are fewer classes, which for a free dimension shows only now.
    """
    values = _numbers(tensor)
    total = values.shape[1]
    _require_within(num_classes, tensor.name, total)
    if len(labels) != total:
        labels = ()
    best = np.argsort(-values.astype(np.float64), axis=1, kind="stable")[:, :num_classes]
    texts = np.empty(best.shape, np.object_)
    for place, index in np.ndenumerate(best):
        label = f":{labels[int(index)]}" if labels else ""
        texts[place] = f"{_text(values[place[0], index])}:{index}{label}".encode()
    return Tensor(tensor.name, "BYTES", texts)


def _require_within(num_classes: int, name: str, total: int) -> None:
    if 0 <= total < num_classes:
        raise InvalidRequest(
            f"output '{name}': classification is {num_classes}; it must lie in 1 to {total}"
        )


def _numbers(tensor: Tensor) -> NDArray[np.generic]:
    if tensor.datatype != "BF16":
        return tensor.array
    # BF16 is the upper half of the bits of FP32.
    return (tensor.array.astype(np.uint32) << 16).view(np.float32)


def _text(value: np.generic) -> str:
    return f"{value:f}" if isinstance(value, np.floating) else str(int(value))
