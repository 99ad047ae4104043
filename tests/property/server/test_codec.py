"""Tensors survive the wire, raw and typed, whatever their datatype and shape."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from protos import inference_pb2 as pb
from server.errors import InvalidRequest
from server.rpc.codec import TYPED_FIELDS, decode_inputs, encode_outputs
from server.tensor import DTYPES, Tensor

ARRAYS = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda datatype: st.tuples(
        st.just(datatype),
        hnp.arrays(
            DTYPES[datatype],
            hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4),
        ),
    )
)


@given(ARRAYS)
def test_raw_round_trip(pair: tuple[str, np.ndarray]) -> None:
    datatype, array = pair
    response = pb.ModelInferResponse()
    encode_outputs([Tensor("x", datatype, array)], response)
    request = pb.ModelInferRequest(raw_input_contents=response.raw_output_contents)
    request.inputs.add(name="x", datatype=datatype, shape=response.outputs[0].shape)

    (tensor,) = decode_inputs(request)

    assert (tensor.name, tensor.datatype, tensor.array.shape) == ("x", datatype, array.shape)
    assert tensor.array.tobytes() == array.tobytes()


@given(ARRAYS.filter(lambda pair: pair[0] in TYPED_FIELDS))
def test_typed_round_trip(pair: tuple[str, np.ndarray]) -> None:
    datatype, array = pair
    request = pb.ModelInferRequest()
    tensor = request.inputs.add(name="x", datatype=datatype, shape=array.shape)
    getattr(tensor.contents, TYPED_FIELDS[datatype]).extend(array.ravel().tolist())
    tensor.contents.SetInParent()

    (decoded,) = decode_inputs(request)

    np.testing.assert_array_equal(decoded.array, array)
    assert decoded.array.dtype == array.dtype


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "BYTES", ""])
def test_datatypes_without_typed_contents_say_so(datatype: str) -> None:
    request = pb.ModelInferRequest()
    request.inputs.add(name="x", datatype=datatype, shape=[0]).contents.SetInParent()

    with pytest.raises(InvalidRequest, match="send it raw"):
        decode_inputs(request)
