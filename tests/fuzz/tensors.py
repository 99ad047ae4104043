"""Tensors for a model as it describes itself: right to begin with, then wrong in a place or two.

Never the numbers that make the tests' own graphs slow or fail, nor any that one flipped bit turns
into them.
"""

import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from bundles import POISON_ID

TYPECODES = {"INT64": ("q", "int64_contents"), "FP32": ("f", "fp32_contents")}
"""Of what the bundles take: how an array holds it, and its field in typed contents."""
MAX_ID = 29
DATATYPES = (
    "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP16",
    "BF16", "FP32", "FP64", "BYTES", "", "int64", "FP8", "\0",
)  # fmt: skip
DIMENSIONS = (0, 1, -1, 2, 7, 300, 1 << 31, 1 << 32, (1 << 63) - 1, -(1 << 63))
IDS = (-1, 64, 65, 255, (1 << 31) - 1, (1 << 63) - 1, -(1 << 63))
NUMBERS = (math.nan, math.inf, -math.inf, 3e38, -0.0, 1e-45)
RAW = (b"", b"\0", b"\0" * 7, b"\xff\xff\xff\xffword1", b"\x05\0\0\0word1", b"\x06\0\0\0word1")
"""The last three as BYTES: a length that lies, one that is right, one that is one too long."""


@dataclass(frozen=True)
class Spec:
    """An input of a model."""

    name: str
    datatype: str
    shape: tuple[int, ...]


def fill(random: Random, request: Any, model: str, specs: Sequence[Spec]) -> None:
    """Write the tensors of a call to a model."""
    request.model_name = model
    rows, length = random.randint(1, 3), random.randint(1, 6)
    is_raw = random.random() < 0.6
    for spec in specs:
        _add(random, request, spec, rows, length, is_raw=is_raw)
    for _ in range(random.choice((0, 0, 1, 1, 2))):
        random.choice(FAULTS)(random, request)


def holds_poison(request: Any) -> bool:
    """Return whether a request holds the number on which the tests' graphs fail."""
    raw = b"".join(request.raw_input_contents)
    typed = (
        value
        for tensor in request.inputs
        for _, values in tensor.contents.ListFields()
        for value in values
    )
    return (
        array("q", [POISON_ID]).tobytes() in raw
        or array("f", [POISON_ID]).tobytes() in raw
        or POISON_ID in typed
    )


def _add(random: Random, request: Any, spec: Spec, rows: int, length: int, *, is_raw: bool) -> None:
    shape = [rows, *(length if extent < 0 else extent for extent in spec.shape[1:])]
    count = math.prod(shape)
    if spec.datatype == "FP32":
        values: list[Any] = [random.uniform(-3, 3) for _ in range(count)]
    elif spec.name == "segment_ids":
        values = [1] * count
    elif spec.name == "position_ids":
        values = list(range(shape[-1])) * rows
    else:
        values = random.choices(range(2 if "type" in spec.name else MAX_ID + 1), k=count)
    if random.random() < 0.1:
        nasty: Sequence[Any] = NUMBERS if spec.datatype == "FP32" else IDS
        values[random.randrange(count)] = random.choice(nasty)
    tensor = request.inputs.add(name=spec.name, datatype=spec.datatype, shape=shape)
    typecode, field = TYPECODES[spec.datatype]
    if is_raw:
        request.raw_input_contents.append(array(typecode, values).tobytes())
    else:
        getattr(tensor.contents, field).extend(values)


def _other_shape(random: Random, request: Any) -> None:
    shape = random.choice(request.inputs).shape
    match random.randrange(4):
        case 0:
            shape.append(random.choice(DIMENSIONS))
        case 1 if shape:
            shape.pop()
        case 2:
            shape.extend([1] * 70)
        case _ if shape:
            shape[random.randrange(len(shape))] = random.choice(DIMENSIONS)


def _other_datatype(random: Random, request: Any) -> None:
    random.choice(request.inputs).datatype = random.choice(DATATYPES)


def _other_name(random: Random, request: Any) -> None:
    named = random.choice((*request.inputs, *request.outputs))
    named.name = random.choice(("", "input_ids", "none", "\0", "x" * 3000))


def _other_raw(random: Random, request: Any) -> None:
    raw = request.raw_input_contents
    if not raw:
        raw.append(random.choice(RAW))
        return
    place = random.randrange(len(raw))
    raw[place] = random.choice((raw[place][:-1], raw[place] * 2, random.choice(RAW)))


def _surplus_raw(random: Random, request: Any) -> None:
    request.raw_input_contents.append(random.choice(RAW))


def _less_raw(random: Random, request: Any) -> None:
    del request.raw_input_contents[random.randint(0, len(request.raw_input_contents)) :]


def _bytes_tensor(random: Random, request: Any) -> None:
    tensor = random.choice(request.inputs)
    tensor.datatype = "BYTES"
    if random.random() < 0.5:
        tensor.contents.bytes_contents.append(random.choice(RAW))


def _more_contents(random: Random, request: Any) -> None:
    contents = random.choice(request.inputs).contents
    contents.int64_contents.extend(random.choices(IDS, k=random.choice((1, 500))))
    contents.bool_contents.append(True)


def _less_inputs(random: Random, request: Any) -> None:
    if len(request.inputs) > 1:
        del request.inputs[random.randrange(len(request.inputs))]


def _input_twice(random: Random, request: Any) -> None:
    request.inputs.append(random.choice(request.inputs))


def _outputs(random: Random, request: Any) -> None:
    for _ in range(random.choice((1, 2, 300))):
        request.outputs.add(name=random.choice(("sentence_embedding", "logits", "total", "none")))


def _other_model(random: Random, request: Any) -> None:
    request.model_name = random.choice(("", "tiny", "pixels", "none", "\0"))


def _other_version(random: Random, request: Any) -> None:
    request.model_version = random.choice(("1", "2", "-1", "x", "9" * 30))


FAULTS: tuple[Callable[[Random, Any], None], ...] = (
    _other_shape,
    _other_datatype,
    _other_name,
    _other_raw,
    _surplus_raw,
    _less_raw,
    _bytes_tensor,
    _more_contents,
    _less_inputs,
    _input_twice,
    _outputs,
    _other_model,
    _other_version,
)
