"""The Open Inference Protocol over a real socket."""

import re
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from loopback import Target, serve
from numpy.typing import NDArray

from protos import inference_pb2 as pb
from protos.heed.v1 import text_pb2

Array = NDArray[Any]
NAMES = ("input_ids", "segment_ids", "position_ids")


def ids(*rows: list[int]) -> Array:
    return np.array(rows, np.int64)


def request(input_ids: Array, segments: Array | None = None, **fields: Any) -> pb.ModelInferRequest:
    """Build a raw request; one segment per row unless told otherwise."""
    rows, length = input_ids.shape
    if segments is None:
        segments = np.ones_like(input_ids)
    positions = np.tile(np.arange(length), (rows, 1))
    message = pb.ModelInferRequest(model_name="tiny", **fields)
    for name, array in zip(NAMES, (input_ids, segments, positions), strict=True):
        message.inputs.add(name=name, datatype="INT64", shape=array.shape)
        message.raw_input_contents.append(array.astype("<i8").tobytes())
    return message


def infer(target: Target, message: pb.ModelInferRequest) -> pb.ModelInferResponse:
    with target.inference() as stub:
        answer: pb.ModelInferResponse = stub.ModelInfer(message, timeout=30)
    return answer


def vectors(answer: pb.ModelInferResponse) -> Array:
    (output,) = answer.outputs
    assert not output.HasField("contents")
    return np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(output.shape)


def refused(target: Target, message: pb.ModelInferRequest) -> grpc.Call:
    with pytest.raises(grpc.RpcError) as caught:
        infer(target, message)
    assert isinstance(caught.value, grpc.Call)
    return caught.value


def test_raw_tensors_equal_the_text_call(target: Target) -> None:
    with target.text() as stub:
        text = stub.Embed(text_pb2.EmbedRequest(model="tiny", texts=["word1 word2"]), timeout=30)

    answer = infer(target, request(ids([2, 5, 6, 3]), id="77"))

    assert (answer.model_name, answer.model_version, answer.id) == ("tiny", "1", "77")
    np.testing.assert_allclose(vectors(answer)[0], text.embeddings[0].values, atol=1e-6)


def test_typed_contents_equal_raw(target: Target) -> None:
    raw = request(ids([2, 5, 3], [2, 7, 3]))
    typed = pb.ModelInferRequest(model_name="tiny", inputs=raw.inputs)
    for tensor, data in zip(typed.inputs, raw.raw_input_contents, strict=True):
        tensor.contents.int64_contents.extend(np.frombuffer(data, "<i8").tolist())

    np.testing.assert_array_equal(vectors(infer(target, typed)), vectors(infer(target, raw)))


def test_inputs_come_in_any_order(target: Target) -> None:
    straight = request(ids([2, 5, 3]))
    turned = pb.ModelInferRequest(
        model_name="tiny",
        inputs=list(straight.inputs)[::-1],
        raw_input_contents=list(straight.raw_input_contents)[::-1],
    )

    np.testing.assert_array_equal(vectors(infer(target, turned)), vectors(infer(target, straight)))


def test_padding_and_packing_do_not_change_a_vector(target: Target) -> None:
    alone = vectors(infer(target, request(ids([2, 5, 6, 3]))))[0]
    padded = request(ids([2, 5, 6, 3, 0, 0]), np.array([[1, 1, 1, 1, 0, 0]]))
    packed = request(ids([2, 9, 3, 2, 5, 6, 3]), np.array([[1, 1, 1, 2, 2, 2, 2]]))
    packed.raw_input_contents[2] = np.array([[0, 1, 2, 0, 1, 2, 3]]).astype("<i8").tobytes()

    np.testing.assert_allclose(vectors(infer(target, padded))[0], alone, atol=1e-6)
    assert vectors(infer(target, packed)).shape == (2, 8)
    np.testing.assert_allclose(vectors(infer(target, packed))[1], alone, atol=1e-6)


def broken(**changes: Any) -> pb.ModelInferRequest:
    message = request(ids([2, 5, 3]))
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def without_input() -> pb.ModelInferRequest:
    message = request(ids([2, 5, 3]))
    del message.inputs[1], message.raw_input_contents[1]
    return message


def with_datatype(datatype: str, data: bytes) -> pb.ModelInferRequest:
    message = request(ids([2, 5, 3]))
    message.inputs[0].datatype = datatype
    message.raw_input_contents[0] = data
    return message


def with_shape(*shape: int) -> pb.ModelInferRequest:
    message = request(ids([2, 5, 3]))
    message.inputs[0].shape[:] = shape
    return message


def with_name(name: str) -> pb.ModelInferRequest:
    message = request(ids([2, 5, 3]))
    message.inputs[0].name = name
    return message


def with_parameter(name: str, **value: Any) -> pb.ModelInferRequest:
    message = request(ids([2, 5, 3]))
    message.parameters[name].CopyFrom(pb.InferParameter(**value))
    return message


def with_output(name: str) -> pb.ModelInferRequest:
    message = request(ids([2, 5, 3]))
    message.outputs.add(name=name)
    return message


def mixed() -> pb.ModelInferRequest:
    message = request(ids([2, 5, 3]))
    message.inputs[0].contents.int64_contents.extend([2, 5, 3])
    return message


def with_surplus() -> pb.ModelInferRequest:
    message = request(ids([2, 5, 3]))
    message.raw_input_contents.append(b"")
    return message


@pytest.mark.parametrize(
    ("message", "code", "hint"),
    [
        (broken(model_name="other"), "NOT_FOUND", "not in the repository"),
        (broken(model_version="2"), "NOT_FOUND", "version 2"),
        (broken(model_version="-1"), "INVALID_ARGUMENT", "whole number"),
        (request(ids([2, 64, 3])), "INVALID_ARGUMENT", "0 to 63"),
        (request(ids([2, -1, 3])), "INVALID_ARGUMENT", "holds -1 at [0, 1]"),
        (request(ids([2, 5]), np.array([[-1, 1]])), "INVALID_ARGUMENT", "segment_ids"),
        (request(ids([2], [3]), np.array([[1], [0]])), "INVALID_ARGUMENT", "row 1"),
        (request(ids([5] * 33)), "INVALID_ARGUMENT", "position_ids"),
        (request(np.zeros((0, 4), np.int64)), "INVALID_ARGUMENT", "at least one"),
        (request(np.zeros((2, 0), np.int64)), "INVALID_ARGUMENT", "at least one"),
        (request(np.full((17, 2), 5)), "INVALID_ARGUMENT", "1 to 16 rows"),
        (without_input(), "INVALID_ARGUMENT", "'segment_ids' is missing"),
        (with_name("ids"), "INVALID_ARGUMENT", "the model takes input_ids"),
        (with_name("segment_ids"), "INVALID_ARGUMENT", "twice"),
        (with_datatype("INT32", b"\0" * 12), "INVALID_ARGUMENT", "takes INT64"),
        (with_datatype("INT65", b""), "INVALID_ARGUMENT", "use one of"),
        (with_datatype("INT64", b"\0" * 23), "INVALID_ARGUMENT", "24 bytes, got 23"),
        (with_shape(3), "INVALID_ARGUMENT", "[-1, -1], where -1 is free"),
        (with_shape(3, 1), "INVALID_ARGUMENT", "same rows and length"),
        (with_shape(-1, -3), "INVALID_ARGUMENT", "negative"),
        (with_shape(2**62, 2**62), "INVALID_ARGUMENT", "too large"),
        (with_shape(0, 2**62), "INVALID_ARGUMENT", "too large"),
        (with_shape(2**30, 2**30), "INVALID_ARGUMENT", "needs"),
        (with_shape(1, 3, *[1] * 5000), "INVALID_ARGUMENT", "5002 dimensions"),
        (mixed(), "INVALID_ARGUMENT", "not both"),
        (with_surplus(), "INVALID_ARGUMENT", "4 entries for 3 inputs"),
        (with_output("states"), "INVALID_ARGUMENT", "use sentence_embedding"),
        (with_parameter("timeout", string_param="5"), "INVALID_ARGUMENT", "int64"),
        (with_parameter("timeout", int64_param=-5), "INVALID_ARGUMENT", "negative"),
        (with_parameter("timeout"), "INVALID_ARGUMENT", "no value"),
        (with_parameter("sequence_id", int64_param=5), "UNIMPLEMENTED", "leave it out"),
        (with_parameter("priority", uint64_param=4), "INVALID_ARGUMENT", "0 to 3"),
        (with_parameter("triton_nope", int64_param=5), "INVALID_ARGUMENT", "unknown"),
    ],
)
def test_bad_tensor_says_what_to_change(
    target: Target, message: pb.ModelInferRequest, code: str, hint: str
) -> None:
    error = refused(target, message)

    assert error.code().name == code
    assert hint in str(error.details())


@pytest.mark.parametrize(
    "message",
    [
        with_parameter("triton_enable_empty_final_response", bool_param=True),
        with_parameter("priority", uint64_param=1),
        with_parameter("priority", int64_param=3),
        with_parameter("timeout", int64_param=0),
    ],
)
def test_parameters_of_clients_are_accepted(target: Target, message: pb.ModelInferRequest) -> None:
    assert infer(target, message).outputs


def test_output_named_twice_is_answered_once(target: Target) -> None:
    message = with_output("sentence_embedding")
    message.outputs.add(name="sentence_embedding")

    assert vectors(infer(target, message)).shape == (1, 8)


def test_trailing_metadata_says_where_the_time_went(target: Target) -> None:
    with target.inference() as stub:
        _, call = stub.ModelInfer.with_call(request(ids([2, 5, 3], [2, 6, 3])), timeout=30)

    timing = dict(call.trailing_metadata())["server-timing"]
    assert re.fullmatch(
        r"queue;dur=[0-9.]+, run;dur=[0-9.]+, total;dur=[0-9.]+, "
        r'batch;desc="sequences=[0-9]+ tokens=[0-9]+"',
        timing,
    )


def test_timeout_parameter_is_a_deadline(target: Target) -> None:
    message = request(ids([62] * 20))
    message.parameters["timeout"].int64_param = 1000

    assert refused(target, message).code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_metadata_and_config_agree(target: Target) -> None:
    with target.inference() as stub:
        metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="tiny"))
        config = stub.ModelConfig(pb.ModelConfigRequest(name="tiny")).config

    assert [one.name for one in metadata.inputs] == list(NAMES)
    assert [list(one.shape) for one in metadata.outputs] == [[-1, 8]]
    assert [one.name for one in config.input] == list(NAMES)
    assert [list(one.dims) for one in config.output] == [[8]]
    assert config.max_batch_size == 16


def test_config_shows_what_is_in_force(repository: Path) -> None:
    options = ("--threads", "1", "--versions", "all", "--max-queue-requests", "7")
    more = ("--max-batch-delay-ms", "2.5", "--priority-levels", "5", "--cache-bytes", "4096")
    with serve(repository, *options, *more) as target, target.inference() as stub:
        config = stub.ModelConfig(pb.ModelConfigRequest(name="tiny")).config

    assert config.version_policy.HasField("all")
    (group,) = config.instance_group
    assert (group.count, group.kind) == (1, pb.ModelInstanceGroup.KIND_CPU)
    batching = config.dynamic_batching
    assert batching.max_queue_delay_microseconds == 2500
    assert (batching.priority_levels, batching.default_priority_level) == (5, 3)
    assert batching.default_queue_policy.max_queue_size == 7
    assert config.response_cache.enable


def test_liveness_readiness_and_index(target: Target) -> None:
    with target.inference() as stub:
        assert stub.ServerLive(pb.ServerLiveRequest()).live
        assert stub.ServerReady(pb.ServerReadyRequest()).ready
        assert stub.ModelReady(pb.ModelReadyRequest(name="tiny", version="1")).ready
        assert not stub.ModelReady(pb.ModelReadyRequest(name="other")).ready
        (model,) = stub.RepositoryIndex(pb.RepositoryIndexRequest()).models

    assert (model.name, model.version, model.state) == ("tiny", "1", "READY")


def test_statistics_grow_by_what_was_done(target: Target) -> None:
    with target.inference() as stub:
        asked = pb.ModelStatisticsRequest(name="tiny")
        before = stub.ModelStatistics(asked).model_stats[0]
        infer(target, request(ids([2, 5, 3], [2, 6, 3])))
        refused(target, request(ids([2, -1, 3])))
        after = stub.ModelStatistics(asked).model_stats[0]

    assert after.inference_count - before.inference_count == 2
    assert after.execution_count > before.execution_count
    assert after.inference_stats.success.count - before.inference_stats.success.count == 1
    assert after.inference_stats.fail.count - before.inference_stats.fail.count == 1
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns
    assert after.last_inference > 0


def test_statistics_of_unknown_model_have_the_extensions_own_code(target: Target) -> None:
    with target.inference() as stub, pytest.raises(grpc.RpcError) as caught:
        stub.ModelStatistics(pb.ModelStatisticsRequest(name="other"))

    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_only_served_extensions_are_advertised(target: Target) -> None:
    with target.inference() as stub:
        metadata = stub.ServerMetadata(pb.ServerMetadataRequest())

    assert metadata.name == "heed"
    assert {"statistics", "trace", "logging", "classification"} < set(metadata.extensions)
    absent = {"system_shared_memory", "cuda_shared_memory", "sequence", "model_repository"}
    assert absent.isdisjoint(metadata.extensions)


def test_status_of_an_endless_name_is_still_the_right_one(target: Target) -> None:
    with target.inference() as stub, pytest.raises(grpc.RpcError) as caught:
        stub.ModelMetadata(pb.ModelMetadataRequest(name="x" * 100_000), timeout=10)
    error = caught.value
    assert isinstance(error, grpc.Call)
    assert error.code() is grpc.StatusCode.NOT_FOUND
