"""Messages of the Open Inference Protocol to tensors and back.

Raw contents become views of the received bytes; typed contents and shared memory are copied once,
so that nobody changes a tensor between its check and its run. Answers are raw or in shared memory.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np

from protos import inference_pb2 as pb
from server.errors import InvalidRequest
from server.rpc.parameters import (
    REGION,
    REGION_BYTES,
    REGION_OFFSET,
    Place,
    decode_place,
)
from server.rpc.shared_memory import Regions
from server.tensor import DTYPES, Tensor, from_raw, num_elements

TYPED_FIELDS = {
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
}
"""Field of InferTensorContents that carries a datatype. FP16, BF16 and BYTES are not among them."""


def _enum_name(datatype: str) -> str:
    return f"TYPE_{'STRING' if datatype == 'BYTES' else datatype}"


DATA_TYPES: dict[str, pb.DataType] = {
    datatype: cast("pb.DataType", pb.DataType.Value(_enum_name(datatype)))
    for datatype in (*DTYPES, "BYTES")
}
"""Datatype on the wire -> the enum of ModelConfig."""


def decode_inputs(
    request: pb.ModelInferRequest, regions: Regions, max_region_bytes: Callable[[], int]
) -> list[Tensor]:
    """Return the tensors of a request, in its order.

    `max_region_bytes` is asked only about a request with tensors in shared memory.

    Raises:
        InvalidRequest: raw and typed contents mixed, a count or size that does not match.
        RegionNotFound, Unsupported: as `Regions.read`.
    """
    places = [_place(tensor) for tensor in request.inputs]
    num_sent = places.count(None)
    if num_sent < len(places):
        _require_room(places, max_region_bytes())
    raw = request.raw_input_contents
    if raw and len(raw) != num_sent:
        raise InvalidRequest(
            f"raw_input_contents has {len(raw)} entries for {num_sent} inputs outside shared "
            "memory; send one for each"
        )
    if raw and any(tensor.HasField("contents") for tensor in request.inputs):
        raise InvalidRequest("use raw_input_contents or contents, not both in one request")
    sent = iter(raw)
    tensors = []
    for tensor, place in zip(request.inputs, places, strict=True):
        if place is None and not raw:
            tensors.append(_typed(tensor))
            continue
        data = next(sent) if place is None else regions.read(place)
        tensors.append(from_raw(tensor.name, tensor.datatype, tensor.shape, data))
    return tensors


def encode_outputs(
    tensors: Sequence[Tensor],
    response: pb.ModelInferResponse,
    regions: Regions,
    places: Mapping[str, Place],
) -> None:
    """Add tensors to a response: those with a place there, the others raw.

    Raises:
        RegionNotFound: a region was taken away while the request ran.
        RegionUnusable: a region is too small for the tensor.
    """
    for tensor in tensors:
        output = response.outputs.add(
            name=tensor.name, datatype=tensor.datatype, shape=tensor.array.shape
        )
        data = _raw(tensor)
        place = places.get(tensor.name)
        if place is not None:
            regions.write(place, data, tensor.name)
            _describe_place(output, place, len(data))
            data = b""
        response.raw_output_contents.append(data)


def _place(tensor: pb.ModelInferRequest.InferInputTensor) -> Place | None:
    if not tensor.parameters:
        return None
    label = f"input '{tensor.name}'"
    place = decode_place(label, tensor.parameters)
    if place is not None and tensor.HasField("contents"):
        raise InvalidRequest(f"{label} is in shared memory and has contents; choose one")
    return place


def _require_room(places: Sequence[Place | None], max_bytes: int) -> None:
    """Bound what is copied out of shared memory as a message would bound what is sent."""
    num_bytes = sum(place.num_bytes for place in places if place is not None)
    if num_bytes > max_bytes:
        raise InvalidRequest(
            f"inputs in shared memory have {num_bytes} bytes, a request of this model holds "
            f"{max_bytes}; split it"
        )


def _raw(tensor: Tensor) -> bytes:
    if tensor.datatype != "BYTES":
        return tensor.array.tobytes()
    texts: list[bytes] = tensor.array.ravel().tolist()
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def _describe_place(
    output: pb.ModelInferResponse.InferOutputTensor, place: Place, num_bytes: int
) -> None:
    output.parameters[REGION].string_param = place.region
    output.parameters[REGION_BYTES].int64_param = num_bytes
    if place.offset:
        output.parameters[REGION_OFFSET].int64_param = place.offset


def _typed(tensor: pb.ModelInferRequest.InferInputTensor) -> Tensor:
    expected = num_elements(tensor.name, tensor.shape)
    if expected and not tensor.HasField("contents"):
        raise InvalidRequest(
            f"input '{tensor.name}' has no data; fill raw_input_contents or contents"
        )
    field = TYPED_FIELDS.get(tensor.datatype)
    if field is None:
        raise InvalidRequest(
            f"input '{tensor.name}': {tensor.datatype or 'no datatype'} is not served in typed "
            f"contents; send it raw, or use one of {', '.join(TYPED_FIELDS)}"
        )
    used = [descriptor.name for descriptor, _ in tensor.contents.ListFields()]
    if used not in ([], [field]):
        raise InvalidRequest(
            f"input '{tensor.name}' is {tensor.datatype}, its values belong in {field}, "
            f"not in {', '.join(used)}"
        )
    values = getattr(tensor.contents, field)
    if len(values) != expected:
        raise InvalidRequest(
            f"input '{tensor.name}': shape {list(tensor.shape)} needs {expected} values, "
            f"got {len(values)}"
        )
    try:
        array = np.array(values, DTYPES[tensor.datatype])
    except OverflowError as error:
        raise InvalidRequest(
            f"input '{tensor.name}': a value does not fit {tensor.datatype}"
        ) from error
    return Tensor(tensor.name, tensor.datatype, array.reshape(tuple(tensor.shape)))
