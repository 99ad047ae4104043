"""Values of one tensor as the protocol's raw bytes: little-endian, row-major. Pure."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from loadtest.errors import RunFailed

DTYPES: Final[dict[str, np.dtype[Any]]] = {
    name: np.dtype(code)
    for name, code in {
        "BOOL": "?",
        "INT8": "<i1",
        "INT16": "<i2",
        "INT32": "<i4",
        "INT64": "<i8",
        "UINT8": "<u1",
        "UINT16": "<u2",
        "UINT32": "<u4",
        "UINT64": "<u8",
        "FP16": "<f2",
        "FP32": "<f4",
        "FP64": "<f8",
    }.items()
}
"""Datatypes that numpy has. BF16 and BYTES it has not."""
ITEM_BYTES: Final = {name: dtype.itemsize for name, dtype in DTYPES.items()} | {"BF16": 2}
"""Of one value; BYTES have as many as they like."""
DATATYPES: Final = (*DTYPES, "BF16", "BYTES")

_LARGEST_BF16: Final = 3.3895313892515355e38


def raw(array: npt.NDArray[Any], datatype: str) -> bytes:
    """Return values as this datatype; BF16 is the upper half of FP32."""
    if datatype == "BF16":
        return (array.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return array.astype(DTYPES[datatype]).tobytes()


def raw_bytes(values: Sequence[bytes]) -> bytes:
    """Return a tensor of BYTES: each value behind its length."""
    return b"".join(len(value).to_bytes(4, "little") + value for value in values)


def check_bounds(datatype: str, low: float, high: float) -> None:
    """Refuse [low, high) where it holds no value of the datatype.

    Raises:
        RunFailed: names the bounds.
    """
    between = f"[{low:g}, {high:g})"
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise RunFailed(f"low and high are {between}; give finite bounds, low below high")
    least, most = _range(datatype)
    if _is_whole(datatype):
        low, high = whole(low, high)
        if low >= high:
            raise RunFailed(f"no whole number lies in {between}; widen low and high")
    if low < least or high > most:
        raise RunFailed(f"{between} is not within {datatype}; narrow low and high")


def whole(low: float, high: float) -> tuple[int, int]:
    """Return the whole numbers in [low, high) as a range."""
    return math.ceil(low), math.ceil(high)


def uniform(
    datatype: str,
    shape: Sequence[int],
    low: float,
    high: float,
    generator: np.random.Generator,
) -> npt.NDArray[Any]:
    """Return values of a number type, uniform over [low, high), which were checked before."""
    if not _is_whole(datatype):
        return np.asarray(low + (high - low) * generator.random(shape))
    dtype = np.dtype(np.int8) if datatype == "BOOL" else DTYPES[datatype].newbyteorder("=")
    return np.asarray(generator.integers(*whole(low, high), shape, dtype))


def _is_whole(datatype: str) -> bool:
    return datatype in DTYPES and DTYPES[datatype].kind in "biu"


def _range(datatype: str) -> tuple[float, float]:
    """Return the smallest value and the largest; of whole ones what is behind the largest."""
    match datatype:
        case "BOOL":
            return 0, 2
        case "BF16":
            return -_LARGEST_BF16, _LARGEST_BF16
        case _ if _is_whole(datatype):
            limits = np.iinfo(DTYPES[datatype])
            return int(limits.min), int(limits.max) + 1
        case _:
            largest = float(np.finfo(DTYPES[datatype]).max)
            return -largest, largest
