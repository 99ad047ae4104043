"""One thread, a bounded queue, and callers that leave."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from server.errors import QueueFull, RunFailed
from server.runtime.serial import SerialExecutor, SerialLimits
from server.runtime.session import Stop

LIMIT_S = 30


class Gate:
    """Work that holds the thread until it is opened, or until it is asked to stop."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()
        self.stop: Stop | None = None

    def __call__(self, stop: Stop) -> str:
        self.stop = stop
        self.entered.set()
        assert self.opened.wait(LIMIT_S)
        return "done"


@pytest.fixture
async def executor() -> AsyncIterator[SerialExecutor]:
    one = SerialExecutor("test", SerialLimits(max_waiting=2))
    yield one
    one.close()


async def held(executor: SerialExecutor) -> tuple[Gate, asyncio.Task[str]]:
    """Occupy the thread."""
    gate = Gate()
    task = asyncio.create_task(executor.run(gate))
    await asyncio.to_thread(gate.entered.wait, LIMIT_S)
    return gate, task


async def queued(
    executor: SerialExecutor, work: Callable[[Stop], str], level: int = 1
) -> asyncio.Task[str]:
    """Start a call and let it take its place."""
    before = executor.num_waiting
    task = asyncio.create_task(executor.run(work, level))
    await asyncio.sleep(0)
    assert executor.num_waiting == before + 1
    return task


async def test_work_runs_away_from_the_event_loop(executor: SerialExecutor) -> None:
    name = await executor.run(lambda _: threading.current_thread().name)

    assert name.startswith("test")


async def test_errors_reach_the_caller_and_the_next_goes_on(executor: SerialExecutor) -> None:
    def fail(_: Stop) -> str:
        raise RunFailed("broken")

    with pytest.raises(RunFailed, match="broken"):
        await executor.run(fail)
    assert await executor.run(lambda _: "next") == "next"


async def test_one_more_than_may_wait_is_refused(executor: SerialExecutor) -> None:
    gate, first = await held(executor)
    waiting = [await queued(executor, lambda _: "waited") for _ in range(2)]

    with pytest.raises(QueueFull, match="2 calls"):
        await executor.run(lambda _: "never")

    gate.opened.set()
    assert await asyncio.gather(first, *waiting) == ["done", "waited", "waited"]


async def test_priority_goes_first_and_then_arrival(executor: SerialExecutor) -> None:
    assert await order_of(executor, 3, 1) == [1, 3]


async def test_long_waiting_makes_up_for_priority() -> None:
    executor = SerialExecutor("test", SerialLimits(max_waiting=2, ageing_s=1e-9))

    assert await order_of(executor, 3, 1) == [3, 1]
    executor.close()


async def order_of(executor: SerialExecutor, *levels: int) -> list[int]:
    """Let calls of these levels arrive in this order, and return the order that they ran in."""
    gate, _ = await held(executor)
    order: list[int] = []

    def note(level: int) -> Callable[[Stop], str]:
        def work(_: Stop) -> str:
            order.append(level)
            return ""

        return work

    tasks = [await queued(executor, note(level), level) for level in levels]
    gate.opened.set()
    await asyncio.gather(*tasks)
    return order


async def test_a_caller_that_leaves_makes_room_at_once(executor: SerialExecutor) -> None:
    gate, first = await held(executor)
    mine = Gate()
    task = await queued(executor, mine)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert executor.num_waiting == 0
    gate.opened.set()
    assert await first == "done"
    assert not mine.entered.is_set()


async def test_work_that_nobody_waits_for_is_asked_to_stop(executor: SerialExecutor) -> None:
    gate, task = await held(executor)
    after = await queued(executor, lambda _: "after")

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert gate.stop is not None
    assert gate.stop.asked
    assert not after.done()
    gate.opened.set()
    assert await after == "after"


async def test_a_turn_that_comes_as_its_caller_leaves_is_passed_on(
    executor: SerialExecutor,
) -> None:
    gate, first = await held(executor)
    mine = Gate()
    leaving = await queued(executor, mine)

    def leave() -> None:
        """Cancel in the turn of the event loop between giving the place and taking it."""
        if executor.num_waiting:
            asyncio.get_running_loop().call_soon(leave)
        else:
            leaving.cancel()

    leave()
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await leaving

    assert not mine.entered.is_set()
    assert await first == "done"
    assert await executor.run(lambda _: "next") == "next"
