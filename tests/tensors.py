"""Tensors to and from a server over the Open Inference Protocol, and straight through the graph."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import numpy as np
from numpy.typing import NDArray

from protos import inference_pb2 as pb
from protos import inference_pb2_grpc as pb_grpc
from server.runtime.session import Session, SessionConfig
from server.tensor import DATATYPES, DTYPES

Arrays = Mapping[str, NDArray[Any]]
Call: TypeAlias = "grpc.Future[pb.ModelInferResponse]"


def request(model: str, arrays: Arrays, outputs: Sequence[str] = ()) -> pb.ModelInferRequest:
    """Build a raw request."""
    message = pb.ModelInferRequest(model_name=model)
    for name, array in arrays.items():
        message.inputs.add(name=name, datatype=DATATYPES[array.dtype], shape=array.shape)
        message.raw_input_contents.append(array.tobytes())
    for name in outputs:
        message.outputs.add(name=name)
    return message


def answer(response: pb.ModelInferResponse) -> dict[str, NDArray[Any]]:
    """Return the tensors of a response, in its order."""
    return {
        output.name: np.frombuffer(data, DTYPES[output.datatype]).reshape(tuple(output.shape))
        for output, data in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def start(
    stub: pb_grpc.GRPCInferenceServiceStub, model: str, arrays: Arrays, timeout: float = 60
) -> Call:
    """Send a request and do not wait for it."""
    call: Call = stub.ModelInfer.future(request(model, arrays), timeout=timeout)
    return call


def code(call: Call) -> str:
    """Wait for the end of a call and return its status."""
    error = call.exception()
    if error is None:
        return "OK"
    assert isinstance(error, grpc.Call)
    return error.code().name


def direct(bundle: Path, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Run the graph of a bundle on tensors as they are, without a server."""
    session = Session(bundle / "model.onnx", SessionConfig())
    return dict(zip(session.output_names, session.run(arrays), strict=True))
