"""Whether an answer of ModelInfer is one to the question: outputs there, of the size they say."""

import math
from collections.abc import Sequence
from typing import Final

from loadtest.workload.payload import Promise
from loadtest.workload.values import ITEM_BYTES
from protos import inference_pb2 as pb

_CONTENTS: Final = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Where typed values lie; FP16 and BF16 travel raw only."""
_LENGTH_BYTES: Final = 4


def is_answer(response: pb.ModelInferResponse, promises: Sequence[Promise]) -> bool:
    """Return whether the outputs are those promised, and each holds what its shape says."""
    outputs, raw = response.outputs, response.raw_output_contents
    if not outputs or (raw and len(raw) != len(outputs)):
        return False
    rows: dict[str, int] = {}
    for place, output in enumerate(outputs):
        shape = list(output.shape)
        rows[output.name] = shape[0] if shape else -1
        if min(shape, default=0) < 0:
            return False
        if not (_fills(raw[place], output.datatype, shape) if raw else _typed(output, shape)):
            return False
    return _keeps(promises, rows)


def _keeps(promises: Sequence[Promise], rows: dict[str, int]) -> bool:
    if promises and not any(one.name in rows for one in promises):
        return False
    for one in promises:
        if one.name not in rows:
            if one.is_certain:
                return False
        elif one.rows not in {-1, rows[one.name]}:
            return False
    return True


def _fills(raw: bytes, datatype: str, shape: Sequence[int]) -> bool:
    count = math.prod(shape)
    if datatype == "BYTES":
        return _num_strings(raw) == count
    return datatype in ITEM_BYTES and len(raw) == count * ITEM_BYTES[datatype]


def _num_strings(raw: bytes) -> int:
    """Return how many strings lie one behind the other; -1 where the last one is cut."""
    found = place = 0
    while place < len(raw):
        begins = place + _LENGTH_BYTES
        place = begins + int.from_bytes(raw[place:begins], "little")
        found += 1
    return found if place == len(raw) else -1


def _typed(output: pb.ModelInferResponse.InferOutputTensor, shape: Sequence[int]) -> bool:
    field = _CONTENTS.get(output.datatype)
    return field is not None and len(getattr(output.contents, field)) == math.prod(shape)
