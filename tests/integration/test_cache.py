"""The response cache of a real server: what came before is answered without a run."""

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, cast

import bundles
import grpc
import numpy as np
import pytest
import tensors
from loopback import Target, serve
from numpy.typing import NDArray
from waiting import until

from protos import inference_pb2 as oip
from protos.heed.v1 import text_pb2 as pb
from protos.heed.v1 import text_pb2_grpc
from server.batching.batcher import Batcher
from server.batching.cache import Cache
from server.batching.layout import Answer
from server.batching.packing import TokenSequence
from server.config import ServerConfig
from server.errors import DeadlineExpired, RunFailed
from server.metrics import Metrics
from server.repository.bundle import open_bundle
from server.tasks.model import load

CACHE = ("--cache-bytes", "1000000")
SLOW = "slow " * 25
"""Keeps a run busy long enough for calls to arrive in the middle of it."""
TOLERANCE = 1e-6
"""FP32 rounding of another batch."""

Stub = text_pb2_grpc.TextServiceStub


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    root = tmp_path_factory.mktemp("cached")
    bundles.build_encoder(root)
    bundles.build_rows(root)
    with serve(root, *CACHE) as running:
        yield running


def embed(target: Target, *texts: str, **fields: Any) -> NDArray[np.float32]:
    with target.text() as stub:
        answer = stub.Embed(pb.EmbedRequest(model="tiny", texts=texts, **fields), timeout=30)
    return np.array([one.values for one in answer.embeddings], np.float32)


def sequences_run(target: Target, model: str = "tiny", version: int = 1) -> float:
    return target.metric(f'heed_batch_sequences_sum{{model="{model}",version="{version}"}}')


@contextmanager
def one_busy_thread(repository: Path, *options: str) -> Iterator[tuple[Target, Stub]]:
    """A server whose only thread is inside a long run."""
    with serve(repository, *CACHE, "--threads", "1", *options) as target, target.text() as stub:
        blocker = stub.Embed.future(pb.EmbedRequest(model="tiny", texts=[SLOW]), timeout=60)
        until(
            lambda: (
                target.metric("heed_inflight_requests") == 1
                and target.metric("heed_queue_requests") == 0
            )
        )
        yield target, stub
        assert blocker.exception() is None


def start(stub: Stub, *texts: str) -> "grpc.Future[pb.EmbedResponse]":
    call: grpc.Future[pb.EmbedResponse] = stub.Embed.future(
        pb.EmbedRequest(model="tiny", texts=texts), timeout=60
    )
    return call


def test_same_text_is_run_once(cached: Target) -> None:
    first = embed(cached, "word1 word2", "word3")
    before = sequences_run(cached)
    second = embed(cached, "word3", "word1 word2")

    np.testing.assert_array_equal(second, first[::-1])
    assert sequences_run(cached) == before


def test_only_new_texts_of_a_call_run(cached: Target) -> None:
    embed(cached, "word5")
    before = sequences_run(cached)
    embed(cached, "word5", "word6", "word5")

    assert sequences_run(cached) == before + 1


def test_parameters_are_applied_to_what_is_kept(cached: Target) -> None:
    whole = embed(cached, "word7 word8")
    before = sequences_run(cached)
    cut = embed(cached, "word7 word8", dimensions=3)
    again = embed(cached, "word7 word8")

    shortened = whole[:, :3] / np.linalg.norm(whole[:, :3])
    np.testing.assert_allclose(cut, shortened, rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(again, whole)
    assert sequences_run(cached) == before


def test_tensors_of_the_same_text_are_found(cached: Target) -> None:
    (expected,) = embed(cached, "word9")
    before = sequences_run(cached)
    ids = np.array([[2, bundles.words().index("word9"), 3]])
    inputs: tensors.Arrays = {
        "input_ids": ids,
        "segment_ids": np.ones_like(ids),
        "position_ids": np.arange(3)[np.newaxis],
    }
    with cached.inference() as stub:
        answer = tensors.answer(stub.ModelInfer(tensors.request("tiny", inputs), timeout=30))

    np.testing.assert_array_equal(answer["sentence_embedding"], [expected])
    assert sequences_run(cached) == before


def test_rows_are_found_by_all_their_inputs(cached: Target) -> None:
    pixels = np.ones((2, 3, bundles.COLUMNS), np.float32)
    shifts = np.array([[1, 2, 3], [4, 5, 6]])
    with cached.inference() as stub:

        def ask(shift: NDArray[np.int64]) -> NDArray[Any]:
            rows: tensors.Arrays = {"pixels": pixels[: len(shift)], "shift": shift}
            return tensors.answer(stub.ModelInfer(tensors.request("pixels", rows), timeout=30))[
                "total"
            ]

        both = ask(shifts)
        before = sequences_run(cached, "pixels")
        np.testing.assert_array_equal(ask(shifts[1:]), both[1:])
        assert sequences_run(cached, "pixels") == before
        ask(shifts[1:] + 1)
        assert sequences_run(cached, "pixels") == before + 1


def test_failure_is_not_kept_and_fails_nobody_else(cached: Target) -> None:
    with pytest.raises(grpc.RpcError):
        embed(cached, "poison word11", "word12")
    before = sequences_run(cached)
    embed(cached, "word12")
    assert sequences_run(cached) == before

    with pytest.raises(grpc.RpcError) as failed:
        embed(cached, "poison word11")
    assert isinstance(failed.value, grpc.Call)
    assert failed.value.code() is grpc.StatusCode.INTERNAL
    assert sequences_run(cached) == before + 1


def test_hits_and_misses_are_told(cached: Target) -> None:
    names = ("heed_cache_hits_total", "heed_cache_misses_total")
    label = '{model="tiny",version="1"}'

    def counts() -> list[tuple[float, float]]:
        with cached.inference() as stub:
            message = oip.ModelStatisticsRequest(name="tiny")
            (model,) = stub.ModelStatistics(message, timeout=30).model_stats
        told = model.inference_stats
        counters = [cached.metric(name + label) for name in names]
        return list(zip(counters, (told.cache_hit.count, told.cache_miss.count), strict=True))

    before = counts()
    embed(cached, "word13", "word14")
    embed(cached, "word13", "word13")
    after = counts()

    assert [(new[0] - old[0], new[1] - old[1]) for old, new in zip(before, after, strict=True)] == [
        (2, 2),
        (2, 2),
    ]
    assert 0 < cached.metric("heed_cache_bytes" + label) <= 1_000_000


def test_equal_calls_at_once_are_one_run(repository: Path) -> None:
    with one_busy_thread(repository) as (target, stub):
        calls = [start(stub, "word1") for _ in range(8)]
        until(lambda: target.metric("heed_inflight_requests") == 9)
        assert target.metric("heed_queue_requests") == 1
        vectors = {tuple(call.result().embeddings[0].values) for call in calls}

    assert len(vectors) == 1


def test_cancelled_caller_leaves_the_others_answered(repository: Path) -> None:
    with one_busy_thread(repository) as (target, stub):
        first = start(stub, "word1", "word2")
        until(lambda: target.metric("heed_queue_requests") == 1)
        others = [start(stub, "word1"), start(stub, "word2")]
        until(lambda: target.metric("heed_inflight_requests") == 4)
        first.cancel()

        assert [len(call.result().embeddings) for call in others] == [1, 1]
        until(lambda: sequences_run(target) == 3)


def test_another_version_answers_for_itself(tmp_path: Path) -> None:
    root = tmp_path / "models"
    bundles.build_encoder(root)
    with serve(root, *CACHE, "--model-control", "explicit") as target:
        embed(target, "word1")
        embed(target, "word1")
        assert sequences_run(target, version=1) == 1
        bundles.build_encoder(root, version=2)
        with target.inference() as stub:
            stub.RepositoryModelLoad(oip.RepositoryModelLoadRequest(model_name="tiny"), timeout=30)
        embed(target, "word1")

        assert sequences_run(target, version=2) == 1


async def test_no_call_is_stranded_whatever_callers_do(repository: Path) -> None:
    """Equal and poisonous units, deadlines that pass and callers that leave, in a seeded mix."""
    random = np.random.default_rng(5)
    bundle = open_bundle(repository / "tiny" / "1")
    config = ServerConfig(threads=2, pin=False, cache_bytes=2000, tuning="", predict=False)
    model = await asyncio.to_thread(load, bundle, config, Metrics())
    cache = cast("Cache[TokenSequence]", model.cache)
    batcher = cast("Batcher[TokenSequence]", model.batcher)
    units = [
        TokenSequence(np.array([2, first, second]), np.arange(3))
        for first, second in [(7, 8), (8, 9), (9, bundles.SLOW_ID), (10, bundles.POISON_ID)]
    ]
    kinds = [random.integers(0, 4, random.integers(1, 4)).tolist() for _ in range(150)]
    expected = {}
    for kind, unit in enumerate(units[:3]):
        ((vector,),) = (await batcher.submit([unit], math.inf)).answers()
        expected[kind] = vector.tolist()

    async def call(kinds: list[int], left_s: float) -> list[Answer]:
        chosen = [units[kind] for kind in kinds]
        return (await cache.submit(chosen, monotonic() + left_s)).answers()

    calls = []
    for number, wanted in enumerate(kinds):
        left_s = (math.inf, math.inf, 60.0, 0.005)[random.integers(4)]
        calls.append(asyncio.create_task(call(wanted, left_s)))
        if number % 7 == 0:
            await asyncio.wait(
                [each for each in calls if not each.done()], return_when=asyncio.FIRST_COMPLETED
            )
        if number % 5 == 0:
            calls[random.integers(len(calls))].cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    for wanted, outcome in zip(kinds, outcomes, strict=True):
        if isinstance(outcome, RunFailed):
            assert 3 in wanted
        elif isinstance(outcome, BaseException):
            assert isinstance(outcome, asyncio.CancelledError | DeadlineExpired)
        else:
            vectors = [vector.tolist() for (vector,) in outcome]
            right = [expected[kind] for kind in wanted]
            np.testing.assert_allclose(vectors, right, rtol=0, atol=TOLERANCE)
    assert cache.num_flights == 0
    assert 0 < cache.num_bytes <= config.cache_bytes
    assert {type(one) for one in outcomes} >= {list, RunFailed, asyncio.CancelledError}
    model.close()


def test_nothing_is_kept_unless_asked_for(repository: Path) -> None:
    with serve(repository) as target:
        embed(target, "word1")
        embed(target, "word1")

        assert sequences_run(target) == 2
        assert target.metric("heed_cache_misses_total") == 0
