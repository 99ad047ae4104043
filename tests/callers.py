"""Callers that make trouble: those who hang up at any moment, and those who send poison."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

import grpc
from loopback import Target
from waiting import until

from protos.heed.v1 import text_pb2 as pb
from protos.heed.v1 import text_pb2_grpc

DEADLINE_S = 30.0
IN_FLIGHT = 64
PATIENCE_S = 0.02
"""At most so long before a caller hangs up."""
TEXTS = ("word1", "word2 word3", "word4 " * 25, "word5 slow", "nothing " * 30)
WEIGHTS = (40, 40, 10, 2, 8)
"""Few are slow, and those keep the queue filled."""
BLOCKER = "slow " * 4
"""Holds the only thread while a batch gathers behind it."""


async def hang_up(target: Target, calls: int, seed: int) -> Counter[str]:
    """Make calls of which each is cancelled after 0 to 20 ms, and return how they ended.

    Returns only when every call has ended.
    """
    random = Random(seed)  # noqa: S311  (no secret)
    free = asyncio.Semaphore(IN_FLIGHT)
    codes: Counter[str] = Counter()

    async def call(embed: Any, text: str, patience_s: float) -> None:
        async with free:
            request = pb.EmbedRequest(model="tiny", texts=[text]).SerializeToString()
            answer = embed(request, timeout=DEADLINE_S)
            await asyncio.sleep(patience_s)
            answer.cancel()
            codes[(await answer.code()).name] += 1

    async with grpc.aio.insecure_channel(target.address) as channel:
        embed: Any = channel.unary_unary("/heed.v1.TextService/Embed")
        drawn = [
            (random.choices(TEXTS, WEIGHTS)[0], random.uniform(0, PATIENCE_S)) for _ in range(calls)
        ]
        await asyncio.gather(*(call(embed, *one) for one in drawn))
    return codes


def has_settled(target: Target) -> bool:
    """Return whether nobody is inside the server any more."""
    names = ("heed_inflight_requests", "heed_queue_requests")
    return not any(target.metric(name) for name in names)


def alone(target: Target, texts: Sequence[str]) -> dict[str, list[float]]:
    """Return the vector of each text, run without any company."""
    with target.text() as stub:
        return {
            text: list(
                stub.Embed(pb.EmbedRequest(model="tiny", texts=[text]), timeout=DEADLINE_S)
                .embeddings[0]
                .values
            )
            for text in texts
        }


def together(target: Target, texts: Sequence[str]) -> list[list[float] | str]:
    """Send each text in a call of its own so that all wait at once; return vectors or codes.

    For a server with one thread.
    """

    def start(stub: text_pb2_grpc.TextServiceStub, text: str) -> "grpc.Future[pb.EmbedResponse]":
        call: grpc.Future[pb.EmbedResponse] = stub.Embed.future(
            pb.EmbedRequest(model="tiny", texts=[text]), timeout=DEADLINE_S
        )
        return call

    with target.text() as stub:
        blocker = start(stub, BLOCKER)
        until(
            lambda: (
                target.metric("heed_inflight_requests") >= 1
                and target.metric("heed_queue_requests") == 0
            )
        )
        calls = [start(stub, text) for text in texts]
        answers: list[list[float] | str] = []
        for call in calls:
            error = call.exception()
            if error is None:
                answers.append(list(call.result().embeddings[0].values))
            else:
                assert isinstance(error, grpc.Call)
                answers.append(error.code().name)
        blocker.result()
    return answers
