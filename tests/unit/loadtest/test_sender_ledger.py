"""Rows of ended calls: what they say, and that none is lost or kept."""

import numpy as np
import pytest

from loadtest.record.row import ROW, WARMUP, WRONG_ANSWER, Rows
from loadtest.sender import order
from loadtest.sender.ledger import Ledger
from loadtest.sender.wire import Call
from loadtest.workload.payload import Payload
from protos.heed.v1 import text_pb2

PAYLOAD = Payload(2, "/heed.v1.TextService/Embed", "unary", (b"",), 2)
UNAVAILABLE = 14


class Frames(list[tuple[bytes, bytes]]):
    def __call__(self, kind: bytes, body: bytes) -> None:
        self.append((kind, body))

    def rows(self) -> Rows:
        return np.frombuffer(b"".join(body for kind, body in self if kind == order.CALLS), ROW)


def answer(texts: int = 2, values: int = 1) -> bytes:
    return text_pb2.EmbedResponse(
        embeddings=[text_pb2.Embedding(values=[1.0] * values, num_tokens=7)] * texts,
        timings=text_pb2.Timings(
            tokenize_ns=1, queue_ns=2, run_ns=3, total_ns=9, batch_sequences=4, batch_tokens=28
        ),
    ).SerializeToString()


def ended(index: int = 0, body: bytes | None = None, code: int = 0, detail: str = "") -> Call:
    call = Call(PAYLOAD, 5, index, 10, 1, 0, sent_ns=11, first_ns=12, done_ns=13)
    call.code, call.detail = code, detail
    call.messages = () if code else (answer() if body is None else body,)
    return call


def test_a_row_says_what_was_sent_and_what_came_back() -> None:
    frames = Frames()
    ledger = Ledger(3, frames)

    ledger.add(ended(index=40))
    ledger.flush()

    row = dict(zip(ROW.names or (), frames.rows()[0].tolist(), strict=True))
    assert row == {
        "index": 40,
        "scheduled_ns": 10,
        "sent_ns": 11,
        "first_ns": 12,
        "done_ns": 13,
        "code": 0,
        "worker": 3,
        "phase": 1,
        "request": 2,
        "payload": 5,
        "texts": 2,
        "tokens": 14,
        "response_bytes": len(answer()),
        "tokenize_ns": 1,
        "queue_ns": 2,
        "run_ns": 3,
        "total_ns": 9,
        "batch_sequences": 4,
        "batch_tokens": 28,
    }


def test_a_wrong_answer_is_recorded_as_one() -> None:
    frames = Frames()
    ledger = Ledger(0, frames)

    ledger.add(ended(body=answer(texts=1)))
    ledger.add(ended(body=b"\xff"))
    ledger.flush()

    assert frames.rows()["code"].tolist() == [WRONG_ANSWER] * 2
    assert ledger.errors == {"WRONG_ANSWER: /heed.v1.TextService/Embed": 2}


@pytest.mark.parametrize("count", [1, 5000])
def test_every_call_is_written_once_however_many_wait(count: int) -> None:
    frames = Frames()
    ledger = Ledger(0, frames)

    for index in range(count):
        ledger.add(ended(index))
    ledger.flush()
    ledger.flush()

    assert sorted(frames.rows()["index"].tolist()) == list(range(count))
    assert len(frames) == 1


def test_answers_that_wait_to_be_read_are_bounded() -> None:
    ledger = Ledger(0, Frames())
    wrong, large = answer(texts=1), answer(texts=1, values=1 << 15)

    for _ in range(2048):
        ledger.add(ended(body=wrong))
    waiting = ledger.errors
    for _ in range(3):
        ledger.add(ended(body=wrong))

    assert waiting == {}
    assert list(ledger.errors.values()) == [3]
    ledger = Ledger(0, Frames())
    ledger.add(ended(body=large))
    assert list(ledger.errors.values()) == [1]


def test_texts_of_errors_are_counted_and_bounded() -> None:
    ledger = Ledger(0, Frames())

    for number in range(20):
        ledger.add(ended(code=UNAVAILABLE, detail=f"port {number % 10}"))
    ledger.add(ended(code=5, detail="x" * 1000))
    ledger.flush()

    kept = {f"UNAVAILABLE: port {number}": 2 for number in range(5)}
    long = {"NOT_FOUND: " + "x" * 289: 1}
    assert ledger.errors == kept | {"UNAVAILABLE: other texts": 10} | long


def test_probes_are_pairs() -> None:
    frames = Frames()
    ledger = Ledger(0, frames)

    ledger.add_probe(10, 3)
    ledger.add_probe(20, 4)
    ledger.flush()

    ((kind, body),) = frames
    assert kind == order.PROBES
    assert np.frombuffer(body, "<i8").tolist() == [10, 3, 20, 4]


def test_nothing_new_writes_nothing() -> None:
    frames = Frames()

    Ledger(0, frames).flush()

    assert frames == []


def test_warm_up_is_the_phase_of_a_call_that_nobody_scheduled() -> None:
    assert Call(PAYLOAD).phase == WARMUP
