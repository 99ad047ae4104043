"""What one of several sending processes takes of a run."""

import pytest

from loadtest.scenario.schema import Closed, Offline, Open
from loadtest.sender.check import first_of_each
from loadtest.sender.clock import Clock
from loadtest.sender.preparation import share_of
from loadtest.workload.payload import Payload


def test_the_first_body_of_every_kind_is_asked() -> None:
    kinds = [0, 0, 2, 1, 2]
    payloads = [
        Payload(kind, "/a/b", "unary", (bytes([number]),), 1) for number, kind in enumerate(kinds)
    ]

    asked = [payload.messages[0][0] for payload in first_of_each(payloads)]

    assert asked == [0, 2, 3]


@pytest.mark.parametrize(("in_flight", "shares"), [(1, [1, 0, 0]), (3, [1, 1, 1]), (8, [3, 3, 2])])
def test_a_closed_loop_is_shared_out(in_flight: int, shares: list[int]) -> None:
    scenario = Closed(in_flight=in_flight)

    assert [share_of(scenario, worker, 3) for worker in range(3)] == shares


def test_every_worker_of_an_offline_run_can_send() -> None:
    assert [share_of(Offline(calls=9, in_flight=2), worker, 3) for worker in range(3)] == [1, 1, 1]


def test_the_safety_stop_is_shared_out() -> None:
    assert share_of(Open(rate=1, max_in_flight=10), 0, 3) == 4


def test_a_past_instant_is_not_waited_for() -> None:
    assert Clock().wait_until(-1, lambda: False)


def test_no_instant_is_waited_for_when_it_is_over() -> None:
    clock = Clock()

    assert not clock.wait_until(1 << 62, lambda: True)
    assert not clock.wait_until(-1, lambda: True)
