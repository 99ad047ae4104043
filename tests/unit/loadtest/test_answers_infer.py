from typing import Any

import pytest

from loadtest.record.row import MISSING, WRONG_ANSWER
from loadtest.workload.answers import read
from loadtest.workload.methods import INFER, INFER_STREAM
from loadtest.workload.payload import Outcome, Payload, Promise
from protos import inference_pb2 as pb

PROMISES = (Promise("y", 2, is_certain=True), Promise("z", -1, is_certain=False))
FLOATS = bytes(2 * 4 * 4)
HEED = (
    "tokenize;dur=0.100, queue;dur=1.500, run;dur=2.000, total;dur=4.250, "
    'batch;desc="sequences=3 tokens=40"'
)


def tensor(**changes: Any) -> pb.ModelInferResponse.InferOutputTensor:
    fields = {"name": "y", "datatype": "FP32", "shape": [2, 4], **changes}
    return pb.ModelInferResponse.InferOutputTensor(**fields)


def raw(data: bytes = FLOATS, **changes: Any) -> pb.ModelInferResponse:
    return pb.ModelInferResponse(outputs=[tensor(**changes)], raw_output_contents=[data])


def typed(field: str, contents: list[Any], **changes: Any) -> pb.ModelInferResponse:
    return pb.ModelInferResponse(outputs=[tensor(contents={field: contents}, **changes)])


def said(
    answer: pb.ModelInferResponse | bytes,
    promises: tuple[Promise, ...] = PROMISES,
    trailer: str | None = None,
) -> Outcome:
    body = answer if isinstance(answer, bytes) else answer.SerializeToString()
    trailing = [("other", "x")] if trailer is None else [("other", "x"), ("server-timing", trailer)]
    return read(Payload(0, INFER, "unary", (b"",), 2, promises), [body], trailing)


@pytest.mark.parametrize(
    "answer",
    [
        raw(),
        typed("fp32_contents", [0.0] * 8),
        raw(bytes(8 * 2), datatype="BF16"),
        raw(bytes(8), datatype="BOOL"),
        raw(b"", shape=[2, 0]),
        raw(b"\1\0\0\0a\0\0\0\0", datatype="BYTES", shape=[2]),
        typed("bytes_contents", [b"a", b""], datatype="BYTES", shape=[2]),
        typed("int_contents", [1, 2], datatype="INT8", shape=[2, 1]),
        typed("uint64_contents", [1, 2], datatype="UINT64", shape=[2]),
    ],
)
def test_outputs_that_hold_what_they_say_are_answers(answer: pb.ModelInferResponse) -> None:
    assert said(answer) == Outcome(0)


@pytest.mark.parametrize(
    "answer",
    [
        pb.ModelInferResponse(),
        raw(shape=[1, 8]),  # another number of rows
        raw(shape=[2, 5]),
        raw(FLOATS[:-1]),
        raw(FLOATS + b"\0"),
        raw(shape=[-1, -4]),
        raw(shape=[], data=bytes(4)),
        raw(datatype="FP33"),
        raw(datatype=""),
        raw(name="other"),
        raw(b"\1\0\0\0a", datatype="BYTES", shape=[2]),
        raw(b"\1\0\0\0a\2\0\0\0b", datatype="BYTES", shape=[2]),
        raw(b"\1\0\0\0a\0\0", datatype="BYTES", shape=[2]),
        typed("fp32_contents", [0.0] * 7),
        typed("fp64_contents", [0.0] * 8),
        typed("fp32_contents", [0.0] * 8, datatype="FP16"),
        pb.ModelInferResponse(outputs=[tensor()] * 2, raw_output_contents=[FLOATS]),
        b"\x0a\xff",
    ],
)
def test_outputs_that_do_not_are_none(answer: pb.ModelInferResponse | bytes) -> None:
    assert said(answer) == Outcome(WRONG_ANSWER)


def test_what_the_metadata_does_not_name_is_only_weighed() -> None:
    assert said(raw(name="other", shape=[8]), ()).code == 0
    assert said(raw(name="other", shape=[9]), ()).code == WRONG_ANSWER


def test_a_foreign_server_may_leave_outputs_out_but_not_all() -> None:
    either = (Promise("y", 2, is_certain=False), Promise("z", 2, is_certain=False))

    assert said(raw(), either).code == 0
    assert said(raw(name="other"), either).code == WRONG_ANSWER


def test_heeds_trailer_is_its_account() -> None:
    found = said(raw(), trailer=HEED)

    assert found == Outcome(0, 0, 100_000, 1_500_000, 2_000_000, 4_250_000, 3, 40)


def test_tensors_need_no_tokenizing() -> None:
    found = said(raw(), trailer="queue;dur=1, run;dur=2, total;dur=4")

    assert found == Outcome(0, 0, 0, 1_000_000, 2_000_000, 4_000_000)


@pytest.mark.parametrize(
    ("trailer", "run_ns"),
    [
        ('db;dur=1, run;desc="a, b; dur=9";dur=2', 2_000_000),
        ("run;dur=2.5;desc=x,total;dur=3", 2_500_000),
        ("run ; dur = 2", 2_000_000),
        ('run;dur="2"', 2_000_000),
        ("run;dur=-2", MISSING),
        ("run;dur=nan", MISSING),
        ("run;dur=inf", MISSING),
        ("run;dur=" + "9" * 400, MISSING),
        ("run;dur=", MISSING),
        ("run;dur", MISSING),
        ("run", MISSING),
        ("cache;desc=hit", MISSING),
        (';;,,="', MISSING),
        ("", MISSING),
    ],
)
def test_foreign_trailers_are_read_as_far_as_they_go(trailer: str, run_ns: int) -> None:
    found = said(raw(), trailer=trailer)

    assert (found.code, found.run_ns, found.queue_ns) == (0, run_ns, MISSING)


def test_batches_beyond_the_record_are_not_believed() -> None:
    found = said(raw(), trailer=f'batch;desc="sequences={2**31} tokens={"9" * 9000}"')

    assert (found.batch_sequences, found.batch_tokens) == (MISSING, MISSING)


def streamed(*answers: pb.ModelStreamInferResponse | pb.ModelInferResponse) -> Outcome:
    payload = Payload(0, INFER_STREAM, "stream", (b"", b""), 2, PROMISES)
    return read(payload, [one.SerializeToString() for one in answers], [("server-timing", HEED)])


def test_a_stream_has_an_answer_to_each_message_and_no_account() -> None:
    one = pb.ModelStreamInferResponse(infer_response=raw())

    assert streamed(one, one) == Outcome(0)


def test_a_stream_may_send_answers_as_they_are() -> None:
    """As MLServer does, whose stream has no message of its own."""
    bare = raw()
    bare.model_name, bare.model_version = "iris", "v1.0"

    assert streamed(bare, bare) == Outcome(0)
    assert streamed(bare, raw(shape=[1, 8])) == Outcome(WRONG_ANSWER)


@pytest.mark.parametrize(
    "second",
    [
        [],
        [pb.ModelStreamInferResponse(infer_response=raw())] * 2,
        [pb.ModelStreamInferResponse(error_message="no", infer_response=raw())],
        [pb.ModelStreamInferResponse()],
        [pb.ModelStreamInferResponse(infer_response=raw(shape=[1, 8]))],
    ],
)
def test_a_stream_with_an_error_is_wrong(second: list[pb.ModelStreamInferResponse]) -> None:
    first = pb.ModelStreamInferResponse(infer_response=raw())

    assert streamed(first, *second) == Outcome(WRONG_ANSWER)
