"""Tensors between the wire and the runtime: datatype names, NumPy dtypes and size checks.

Pure. BF16 has no NumPy dtype; it travels as the upper 16 bits of FP32 in `uint16`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from server.errors import InvalidRequest

DTYPES: dict[str, np.dtype[np.generic]] = {
    "BOOL": np.dtype(np.bool_),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "FP16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""Fixed-size datatypes of the Open Inference Protocol, little-endian as on the wire."""

DATATYPES = {
    dtype: name for name, dtype in DTYPES.items() if name != "BF16"
}  # uint16 reads as UINT16


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named tensor as the protocol sees it."""

    name: str
    datatype: str
    array: NDArray[np.generic]


def from_raw(name: str, datatype: str, shape: Sequence[int], data: bytes) -> Tensor:
    """View received bytes as a tensor without copying.

    Raises:
        InvalidRequest: unknown datatype, negative dimension, or a byte count that does not match.
    """
    dtype = DTYPES.get(datatype)
    if dtype is None:
        raise InvalidRequest(
            f"input '{name}': datatype '{datatype}' is not served; use one of {', '.join(DTYPES)}"
        )
    expected = num_elements(name, shape) * dtype.itemsize
    if expected != len(data):
        raise InvalidRequest(
            f"input '{name}': shape {list(shape)} of {datatype} needs {expected} bytes, "
            f"got {len(data)}"
        )
    return Tensor(name, datatype, np.frombuffer(data, dtype).reshape(tuple(shape)))


MAX_RANK = 32
MAX_DIMENSION = 2**31 - 1
"""Beyond these NumPy itself gives up, zero-sized shapes included."""


def num_elements(name: str, shape: Sequence[int]) -> int:
    """Return the element count of a shape, refusing what no array can have."""
    if len(shape) > MAX_RANK:
        raise InvalidRequest(f"input '{name}' has {len(shape)} dimensions, at most {MAX_RANK} fit")
    if any(dimension > MAX_DIMENSION for dimension in shape):
        raise InvalidRequest(f"input '{name}': shape {list(shape)} is too large")
    if any(dimension < 0 for dimension in shape):
        raise InvalidRequest(f"input '{name}': shape {list(shape)} has a negative dimension")
    return prod(shape)
