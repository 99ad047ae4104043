"""Many inferences on one stream."""

from collections.abc import Iterable, Iterator
from queue import SimpleQueue

import grpc
import numpy as np
import pytest
import tensors
from bundles import SLOW_ID
from loopback import Target
from waiting import until

from protos import inference_pb2 as pb

FINAL = "triton_final_response"
METHOD = 'heed_requests_total{code="%s",method="/inference.GRPCInferenceService/ModelStreamInfer"}'


def message(number: int, token: int = 5, num_tokens: int = 1) -> pb.ModelInferRequest:
    ids = np.full((1, num_tokens), token, np.int64)
    positions = np.arange(num_tokens)[None]
    arrays = {"input_ids": ids, "segment_ids": np.ones_like(ids), "position_ids": positions}
    request = tensors.request("tiny", arrays)
    request.id = str(number)
    return request


def answers(
    target: Target, messages: Iterable[pb.ModelInferRequest], **options: object
) -> list[pb.ModelStreamInferResponse]:
    with target.inference() as stub:
        return list(stub.ModelStreamInfer(iter(messages), timeout=30, **options))


def test_answers_come_in_the_order_of_the_messages(target: Target) -> None:
    slow_first = [message(0, SLOW_ID, 4), *map(message, range(1, 200))]

    answered = answers(target, slow_first)

    assert [one.infer_response.id for one in answered] == [str(number) for number in range(200)]
    assert not any(one.error_message for one in answered)


def test_an_answer_equals_that_of_the_single_call(target: Target) -> None:
    with target.inference() as stub:
        alone = stub.ModelInfer(message(7), timeout=30)

    (one,) = answers(target, [message(7)])

    assert one.infer_response.parameters.pop(FINAL).bool_param
    assert one.infer_response.id == alone.id
    # Other requests may share the run, and sums differ in the last bits then.
    found, expected = tensors.answer(one.infer_response), tensors.answer(alone)
    np.testing.assert_allclose(found["sentence_embedding"], expected["sentence_embedding"], 1e-5)


def test_failed_message_is_answered_and_the_stream_goes_on(target: Target) -> None:
    unknown = message(1)
    unknown.model_name = "other"
    odd = message(2, token=-1)

    first, second, third, fourth = answers(target, [message(0), unknown, odd, message(3)])

    assert not first.error_message
    assert not fourth.error_message
    assert "other" in second.error_message
    assert "holds -1" in third.error_message
    for number, failed in ((1, second), (2, third)):
        assert failed.infer_response.id == str(number)
        assert failed.infer_response.parameters[FINAL].bool_param
        assert not failed.infer_response.outputs


def test_stream_that_asks_for_it_ends_with_the_status_of_the_first_error(target: Target) -> None:
    messages = [message(0), message(1, token=-1), message(2)]

    with target.inference() as stub:
        stream = stub.ModelStreamInfer(
            iter(messages), timeout=30, metadata=[("triton_grpc_error", "true")]
        )
        first = next(stream)
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)

    assert first.infer_response.id == "0"
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_empty_final_response_may_be_asked_for(target: Target) -> None:
    request = message(0)
    request.parameters["triton_enable_empty_final_response"].bool_param = True

    (one,) = answers(target, [request])

    assert one.infer_response.outputs
    assert one.infer_response.parameters[FINAL].bool_param


def test_cancelled_stream_stops_its_work(target: Target) -> None:
    waiting: SimpleQueue[pb.ModelInferRequest] = SimpleQueue()

    def endless() -> Iterator[pb.ModelInferRequest]:
        while True:
            yield waiting.get()

    before = target.metric(METHOD % "CANCELLED")
    with target.inference() as stub:
        stream = stub.ModelStreamInfer(endless())
        for number in range(8):
            waiting.put(message(number, SLOW_ID, 30))
        until(lambda: target.metric("heed_inflight_requests") == 8)
        stream.cancel()
        until(lambda: target.metric("heed_inflight_requests") == 0)
        waiting.put(message(9))  # lets the sending thread of gRPC end

    assert target.metric(METHOD % "CANCELLED") > before
    assert target.metric("heed_queue_requests") == 0
