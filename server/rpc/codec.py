"""Messages of the Open Inference Protocol to tensors and back.

Raw contents become views of the received bytes; typed contents are copied once. Answers are raw.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np

from protos import inference_pb2 as pb
from server.errors import InvalidRequest, Unsupported
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

HARMLESS_PARAMETERS = frozenset(
    {"binary_data_output", "headers", "triton_enable_empty_final_response"}
)
"""Request parameters that clients send by habit and that change nothing in a unary call."""

UNSERVED_PARAMETERS = frozenset({"priority", "sequence_end", "sequence_id", "sequence_start"})
"""Request parameters of the protocol that would change the answer and are not served."""


def _enum_name(datatype: str) -> str:
    return f"TYPE_{'STRING' if datatype == 'BYTES' else datatype}"


DATA_TYPES: dict[str, pb.DataType] = {
    datatype: cast("pb.DataType", pb.DataType.Value(_enum_name(datatype)))
    for datatype in (*DTYPES, "BYTES")
}
"""Datatype on the wire -> the enum of ModelConfig."""


def decode_inputs(request: pb.ModelInferRequest) -> list[Tensor]:
    """Return the tensors of a request, in its order.

    Raises:
        InvalidRequest: raw and typed contents mixed, a count or size that does not match.
        Unsupported: a tensor in shared memory.
    """
    for tensor in request.inputs:
        if "shared_memory_region" in tensor.parameters:
            raise Unsupported(
                f"input '{tensor.name}' is in shared memory, which this server does not map; "
                "send it in raw_input_contents"
            )
    if not request.raw_input_contents:
        return [_typed(tensor) for tensor in request.inputs]
    if any(tensor.HasField("contents") for tensor in request.inputs):
        raise InvalidRequest("use raw_input_contents or contents, not both in one request")
    if len(request.raw_input_contents) != len(request.inputs):
        raise InvalidRequest(
            f"raw_input_contents has {len(request.raw_input_contents)} entries for "
            f"{len(request.inputs)} inputs; send one for each"
        )
    return [
        from_raw(tensor.name, tensor.datatype, tensor.shape, data)
        for tensor, data in zip(request.inputs, request.raw_input_contents, strict=True)
    ]


def decode_requested(request: pb.ModelInferRequest) -> list[str]:
    """Return the names of the outputs asked for, each once; none means all."""
    for output in request.outputs:
        for name in output.parameters:
            if name in {"classification", "shared_memory_region"}:
                raise Unsupported(
                    f"output '{output.name}': parameter '{name}' is not served; leave it out"
                )
    return list(dict.fromkeys(output.name for output in request.outputs))


def encode_outputs(tensors: Sequence[Tensor], response: pb.ModelInferResponse) -> None:
    """Add tensors to a response, raw."""
    for tensor in tensors:
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.array.shape)
        response.raw_output_contents.append(tensor.array.tobytes())


def _typed(tensor: pb.ModelInferRequest.InferInputTensor) -> Tensor:
    if not tensor.HasField("contents"):
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
    expected = num_elements(tensor.name, tensor.shape)
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


def decode_timeout(request: pb.ModelInferRequest) -> float | None:
    """Return the `timeout` parameter in seconds, after checking that every parameter is served.

    Raises:
        InvalidRequest: a parameter without a value, of the wrong type, or unknown.
        Unsupported: a parameter of the protocol that this server does not act on.
    """
    timeout_s = None
    for name, parameter in request.parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        if kind is None:
            raise InvalidRequest(f"parameter '{name}' has no value")
        if name == "timeout":
            if kind != "int64_param" or parameter.int64_param < 0:
                raise InvalidRequest("parameter 'timeout' must be int64 microseconds, at least 0")
            timeout_s = parameter.int64_param / 1e6 or None
        elif name in UNSERVED_PARAMETERS:
            raise Unsupported(f"parameter '{name}' is not served; leave it out")
        elif name not in HARMLESS_PARAMETERS:
            raise InvalidRequest(f"parameter '{name}' is unknown; leave it out")
    return timeout_s
