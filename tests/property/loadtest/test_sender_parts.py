"""The parts of any number of workers are the run, no more and no less."""

import io
from itertools import cycle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loadtest.arrivals.schedule import schedule
from loadtest.scenario.schema import Arrival, Closed, Open, Replay
from loadtest.sender import order
from loadtest.sender.preparation import share_of
from loadtest.sender.scheduled import part_of

workers = st.integers(1, 7)
opens = st.builds(
    Open,
    rate=st.floats(1, 300),
    duration_s=st.floats(0.5, 2),
    warmup_s=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 9),
)
replays = st.builds(
    lambda times: Replay(recorded=tuple(Arrival(at_s, (3,)) for at_s in sorted({0.0, *times}))),
    st.lists(st.floats(0.1, 9), min_size=1, max_size=50),
)


@given(opens | replays, workers, st.integers(1, 99))
def test_parts_of_a_schedule_are_the_schedule(
    scenario: Open | Replay, count: int, pool: int
) -> None:
    parts = [part_of(scenario, pool, worker, count) for worker in range(count)]
    whole = schedule(scenario)

    indices = np.concatenate([part.indices for part in parts])
    places = np.argsort(indices)
    assert indices[places].tolist() == list(range(len(whole)))
    for merged, expected in (
        ([part.instants_ns for part in parts], whole.instants_ns),
        ([part.phases for part in parts], whole.phases),
        ([part.payloads for part in parts], whole.payloads(pool)),
    ):
        assert np.array_equal(np.concatenate(merged)[places], expected)
    assert {part.span_ns for part in parts} == {whole.span_ns}


@given(st.integers(1, 65536), workers)
def test_shares_of_a_closed_loop_are_the_loop(in_flight: int, count: int) -> None:
    shares = [share_of(Closed(in_flight=in_flight), worker, count) for worker in range(count)]

    assert sum(shares) == in_flight
    assert max(shares) - min(shares) <= 1


@given(
    st.lists(st.tuples(st.sampled_from([b"R", b"C", b"D"]), st.binary(max_size=300))),
    st.lists(st.integers(1, 17), min_size=1),
)
def test_frames_come_back_however_they_are_cut(
    frames: list[tuple[bytes, bytes]], pieces: list[int]
) -> None:
    stream = io.BytesIO(b"".join(order.frame(*frame) for frame in frames))
    size = cycle(pieces)

    def read(wanted: int) -> bytes:
        return stream.read(min(wanted, next(size)))

    found = []
    while (frame := order.read_frame(read)) is not None:
        found.append(frame)

    assert found == frames
