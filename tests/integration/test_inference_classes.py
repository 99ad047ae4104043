"""The classification extension over a real socket."""

import grpc
import numpy as np
import pytest
import tensors
from bundles import HIDDEN, TAGS
from loopback import Target

from protos import inference_pb2 as pb

IDS = np.array([[2, 5, 3], [2, 9, 3]], np.int64)
POSITIONS = np.tile(np.arange(3), (2, 1))
ARRAYS = {"input_ids": IDS, "segment_ids": np.ones_like(IDS), "position_ids": POSITIONS}


def classes(model: str, num_classes: int, output: str = "logits") -> pb.ModelInferRequest:
    request = tensors.request(model, ARRAYS, [output])
    request.outputs[0].parameters["classification"].int64_param = num_classes
    return request


def read(raw: bytes) -> list[str]:
    texts = []
    while raw:
        end = 4 + int.from_bytes(raw[:4], "little")
        texts.append(raw[4:end].decode())
        raw = raw[end:]
    return texts


def test_classes_are_the_largest_values_with_their_labels(text_target: Target) -> None:
    with text_target.inference() as stub:
        (logits,) = tensors.answer(
            stub.ModelInfer(tensors.request("topics", ARRAYS, ["logits"]), timeout=30)
        ).values()
        answer = stub.ModelInfer(classes("topics", 3), timeout=30)

    (output,) = answer.outputs
    assert (output.datatype, list(output.shape)) == ("BYTES", [2, 3])
    best = np.argsort(-logits, axis=1)[:, :3]
    found = [text.split(":") for text in read(answer.raw_output_contents[0])]
    assert [int(index) for _, index, _ in found] == best.ravel().tolist()
    assert [label for _, _, label in found] == [f"topic{index}" for index in best.ravel()]
    np.testing.assert_allclose(
        [float(value) for value, _, _ in found],
        np.take_along_axis(logits, best, axis=1).ravel(),
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        (classes("topics", HIDDEN + 1), f"1 to {HIDDEN}"),
        (classes("topics", 0), "at least 1"),
        (classes("topics", 1, "states"), "needs rows and classes"),
        (classes("tagger", len(TAGS)), "needs rows and classes"),
        (classes("topics", 1, "nothing"), "use logits"),
    ],
)
def test_classes_that_cannot_be_are_refused(
    text_target: Target, message: pb.ModelInferRequest, hint: str
) -> None:
    with text_target.inference() as stub, pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(message, timeout=30)

    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert hint in str(caught.value.details())
