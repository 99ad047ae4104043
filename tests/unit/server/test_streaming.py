"""Messages of a stream are served together and answered in order."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from server.errors import InvalidRequest
from server.rpc.streaming import in_order

WINDOW = 3


async def numbers(end: int) -> AsyncIterator[int]:
    for number in range(end):
        yield number


async def test_answers_come_in_the_order_of_the_messages() -> None:
    gates = [asyncio.Event() for _ in range(WINDOW)]

    async def serve(number: int) -> int:
        # The last of the window lets the others go, from the back.
        if number == WINDOW - 1:
            gates[number].set()
        await gates[number].wait()
        if number:
            gates[number - 1].set()
        return number

    answers = [answer async for answer in in_order(numbers(WINDOW), serve, WINDOW)]
    assert answers == [0, 1, 2]


async def test_no_more_than_the_window_is_under_way() -> None:
    under_way = 0
    most = 0

    async def serve(number: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return number

    answers = [answer async for answer in in_order(numbers(50), serve, WINDOW)]
    assert answers == list(range(50))
    assert most <= WINDOW


async def test_closing_cancels_what_is_under_way() -> None:
    ended: list[int] = []

    async def serve(number: int) -> int:
        if number == 0:
            return number
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)
        return number

    answers = in_order(numbers(50), serve, WINDOW)
    assert await anext(answers) == 0
    await asyncio.sleep(0)
    await answers.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert 0 not in ended


async def test_broken_stream_is_reported_after_the_answers_before() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise InvalidRequest("no message")

    async def serve(number: int) -> int:
        return number

    answers = in_order(broken(), serve, WINDOW)
    assert await anext(answers) == 1
    with pytest.raises(InvalidRequest):
        await anext(answers)
