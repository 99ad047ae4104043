import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.fabric import words
from loadtest.fabric.words import (
    Batch,
    Begin,
    Broken,
    Command,
    Ended,
    Foreign,
    Halt,
    News,
    Ping,
    Pong,
    Prepared,
    Take,
)
from loadtest.record.row import ROW
from loadtest.scenario.schema import Open
from loadtest.sender.order import Done, Order, Ready, Security

READY = Ready(payloads=3, connections=4, channel_options={"a": 1}, scheduled=None)
DONE = Done(
    measured_from_ns=1, end_ns=2, stopped="", cpu_s=0.5, most_in_flight=7, errors={"INTERNAL x": 2}
)
ORDER = Order(
    scenario=Open(rate=5.0),
    target="x:1",
    model="m",
    worker=1,
    workers=3,
    security=Security(is_tls=True, ca=b"\x00\xff", metadata=(("a", "b"),)),
)


@pytest.mark.parametrize(
    "command", [Ping(3), Begin(-5), Begin(1 << 62), Halt("enough"), Take.of(ORDER)]
)
def test_commands_arrive_as_they_were_sent(command: Command) -> None:
    assert words.command(words.encode(7, command)) == (7, command)


def test_order_survives_the_way() -> None:
    assert Take.of(ORDER).unpack() == ORDER


@pytest.mark.parametrize(
    "news", [Prepared(READY, "host", 12, 11), Pong(3, 1 << 60), Ended(DONE, 99), Broken("no")]
)
def test_news_arrive_as_they_were_sent(news: News) -> None:
    assert words.news(words.encode(words.ANY_RUN, news)) == (words.ANY_RUN, news)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 2**32))
def test_rows_and_probes_arrive_bit_by_bit(rows: int, probes: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    sent = Batch(
        np.frombuffer(generator.bytes(rows * ROW.itemsize), ROW),
        np.frombuffer(generator.bytes(probes * 16), np.int64).reshape(-1, 2),
    )

    run, came = words.news(words.encode(1, sent))

    assert run == 1
    assert isinstance(came, Batch)
    assert came.rows.tobytes() == sent.rows.tobytes()
    assert came.probes.tolist() == sent.probes.tolist()


@pytest.mark.parametrize(
    "data", [{}, {"word": b""}, {"word": b"nonsense"}, {"word": msgspec.msgpack.encode([1, {}])}]
)
def test_foreign_bytes_are_refused(data: dict[str, bytes]) -> None:
    with pytest.raises(Foreign):
        words.news(data)
    with pytest.raises(Foreign):
        words.command(data)


def test_each_side_refuses_the_other_ones_words() -> None:
    with pytest.raises(Foreign, match="Ping is no news"):
        words.news(words.encode(1, Ping(1)))
    with pytest.raises(Foreign, match="Broken is no command"):
        words.command(words.encode(1, Broken("x")))


def test_order_of_another_version_is_refused() -> None:
    with pytest.raises(Foreign):
        Take(b"not compressed").unpack()
