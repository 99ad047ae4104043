"""Many messages of one stream under way at once, answered in the order they came."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

Message = TypeVar("Message")
Answer = TypeVar("Answer")


async def in_order(
    messages: AsyncIterator[Message],
    serve: Callable[[Message], Awaitable[Answer]],
    window: int,
) -> AsyncIterator[Answer]:
    """Yield the answer to each message, in the order of the messages.

    Each message is served in a task of its own, `window` of them at a time; closing the iterator
    cancels what is under way. An error of `messages` is raised after the answers before it.
    """
    tasks: asyncio.Queue[asyncio.Future[Answer] | None] = asyncio.Queue()
    room = asyncio.Semaphore(window)

    async def read() -> None:
        try:
            async for message in messages:
                await room.acquire()
                tasks.put_nowait(asyncio.ensure_future(serve(message)))
        finally:
            tasks.put_nowait(None)

    reader = asyncio.create_task(read())
    under_way: asyncio.Future[Answer] | None = None
    try:
        while (under_way := await tasks.get()) is not None:
            yield await under_way
            room.release()
        await reader
    finally:
        reader.cancel()
        left = [under_way] if under_way is not None else []
        while not tasks.empty():
            task = tasks.get_nowait()
            if task is not None:
                left.append(task)
        for task in left:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*left, return_exceptions=True)
