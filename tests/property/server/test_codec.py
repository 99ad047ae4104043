"""Tensors survive the wire, raw, typed and in shared memory, whatever their datatype and shape."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from protos import inference_pb2 as pb
from server.errors import InvalidRequest
from server.rpc import codec
from server.rpc.codec import TYPED_FIELDS
from server.rpc.parameters import Place
from server.rpc.shared_memory import Regions
from server.tensor import DTYPES, Tensor

NO_REGIONS = Regions(enabled=False)
ARRAYS = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda datatype: st.tuples(
        st.just(datatype),
        hnp.arrays(
            DTYPES[datatype],
            hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4),
        ),
    )
)


def decoded(request: pb.ModelInferRequest, regions: Regions = NO_REGIONS) -> list[Tensor]:
    return codec.decode_inputs(request, regions, lambda: 1 << 20)


def encoded(tensors: Sequence[Tensor]) -> pb.ModelInferResponse:
    response = pb.ModelInferResponse()
    codec.encode_outputs(tensors, response, NO_REGIONS, {})
    return response


@given(ARRAYS)
def test_raw_round_trip(pair: tuple[str, np.ndarray]) -> None:
    datatype, array = pair
    response = encoded([Tensor("x", datatype, array)])
    request = pb.ModelInferRequest(raw_input_contents=response.raw_output_contents)
    request.inputs.add(name="x", datatype=datatype, shape=response.outputs[0].shape)

    (tensor,) = decoded(request)

    assert (tensor.name, tensor.datatype, tensor.array.shape) == ("x", datatype, array.shape)
    assert tensor.array.tobytes() == array.tobytes()


@given(ARRAYS.filter(lambda pair: pair[0] in TYPED_FIELDS))
def test_typed_round_trip(pair: tuple[str, np.ndarray]) -> None:
    datatype, array = pair
    request = pb.ModelInferRequest()
    tensor = request.inputs.add(name="x", datatype=datatype, shape=array.shape)
    getattr(tensor.contents, TYPED_FIELDS[datatype]).extend(array.ravel().tolist())

    (result,) = decoded(request)

    np.testing.assert_array_equal(result.array, array)
    assert result.array.dtype == array.dtype


@given(ARRAYS, st.integers(0, 9), st.integers(0, 9))
def test_shared_memory_round_trip(
    pair: tuple[str, np.ndarray], region_offset: int, offset: int
) -> None:
    datatype, array = pair
    tensor = Tensor("x", datatype, array)
    size = offset + array.nbytes
    place = Place("here", offset, array.nbytes)
    with TemporaryDirectory() as folder:
        (Path(folder) / "object").write_bytes(bytes(region_offset + size))
        regions = Regions(enabled=True, root=Path(folder))
        regions.register("here", "/object", region_offset, size)
        response = pb.ModelInferResponse()
        codec.encode_outputs([tensor], response, regions, {"x": place})
        request = pb.ModelInferRequest()
        given = request.inputs.add(name="x", datatype=datatype, shape=array.shape)
        given.parameters.MergeFrom(response.outputs[0].parameters)
        (result,) = decoded(request, regions)
        regions.unregister("")

    assert response.raw_output_contents == [b""]
    assert result.array.tobytes() == array.tobytes()


@given(st.lists(st.binary(max_size=5)))
def test_bytes_carry_their_lengths(texts: list[bytes]) -> None:
    array = np.empty(len(texts), np.object_)
    array[:] = texts

    (raw,) = encoded([Tensor("x", "BYTES", array)]).raw_output_contents

    read = []
    while raw:
        size = int.from_bytes(raw[:4], "little")
        read.append(raw[4 : 4 + size])
        raw = raw[4 + size :]
    assert read == texts


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "BYTES", ""])
def test_datatypes_without_typed_contents_say_so(datatype: str) -> None:
    request = pb.ModelInferRequest()
    request.inputs.add(name="x", datatype=datatype, shape=[0]).contents.SetInParent()

    with pytest.raises(InvalidRequest, match="send it raw"):
        decoded(request)


def test_more_raw_entries_than_inputs_are_refused() -> None:
    request = pb.ModelInferRequest(raw_input_contents=[b"\0" * 4, b""])
    request.inputs.add(name="x", datatype="FP32", shape=[1])

    with pytest.raises(InvalidRequest, match="2 entries for 1 inputs"):
        decoded(request)


def test_more_shared_memory_than_a_message_holds_is_refused() -> None:
    request = pb.ModelInferRequest()
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[1 << 40])
    tensor.parameters["shared_memory_region"].string_param = "here"
    tensor.parameters["shared_memory_byte_size"].int64_param = 1 << 42

    with pytest.raises(InvalidRequest, match="a request of this model holds"):
        decoded(request)
