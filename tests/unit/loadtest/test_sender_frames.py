"""What crosses the pipe between a sender and its parent."""

import io

import msgspec
import pytest

from loadtest.scenario.schema import Arrival, Closed, Replay
from loadtest.sender import order
from loadtest.sender.order import Order, Security, Start, Stop


def test_a_frame_comes_back_as_it_was() -> None:
    stream = io.BytesIO(order.frame(order.CALLS, b"rows") + order.frame(order.DONE, b""))

    frames = [order.read_frame(stream.read) for _ in range(3)]

    assert frames == [(order.CALLS, b"rows"), (order.DONE, b""), None]


@pytest.mark.parametrize("kept", range(len(order.frame(order.CALLS, b"rows"))))
def test_a_truncated_frame_is_the_end(kept: int) -> None:
    stream = io.BytesIO(order.frame(order.CALLS, b"rows")[:kept])

    assert order.read_frame(stream.read) is None


def test_an_order_crosses_with_its_trace_and_its_certificates() -> None:
    scenario = Replay(recorded=(Arrival(0.0, (3, 4)), Arrival(0.5, (5,), "other")))
    security = Security(is_tls=True, ca=b"\x00pem", metadata=(("authorization", "Bearer x"),))
    whole = Order(scenario=scenario, target="host:1", model="m", workers=2, security=security)

    assert msgspec.json.decode(msgspec.json.encode(whole), type=Order) == whole


def test_a_command_is_one_line() -> None:
    for command in (Stop("first\nsecond"), Start(3), order_of_a_model("line\nbreak")):
        assert b"\n" not in msgspec.json.encode(command)


def order_of_a_model(model: str) -> Order:
    return Order(scenario=Closed(in_flight=1), target="host:1", model=model)
