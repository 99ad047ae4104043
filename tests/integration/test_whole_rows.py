"""Bundles of whole rows: tensors in, tensors out, batched by shape."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensors
from bundles import COLUMNS, POISON_ID, SLOW_ID, TAGS
from loopback import Target, serve
from numpy.typing import NDArray
from waiting import until

from protos import inference_pb2 as pb
from protos import inference_pb2_grpc as pb_grpc
from protos.heed.v1 import text_pb2
from server import bench
from server.config import ServerConfig
from server.errors import ConfigInvalid
from server.repository.bundle import open_bundle

Arrays = dict[str, NDArray[Any]]
TOLERANCE = 1e-5
"""FP32 sums of a few values in another order."""


def image(rows: int = 1, height: int = 3, seed: int = 0) -> Arrays:
    random = np.random.default_rng(seed)
    return {
        "pixels": random.normal(size=(rows, height, COLUMNS)).astype(np.float32),
        "shift": random.integers(-9, 9, (rows, len(TAGS))),
    }


def slow(height: int = 8) -> Arrays:
    """Keep a run busy long enough for signals and cancellations to arrive in the middle of it."""
    return image(1, height) | {"pixels": np.full((1, height, COLUMNS), SLOW_ID, np.float32)}


def infer(target: Target, message: pb.ModelInferRequest) -> Arrays:
    with target.inference() as stub:
        return tensors.answer(stub.ModelInfer(message, timeout=30))


@contextmanager
def one_thread(
    repository: Path, *options: str
) -> Iterator[tuple[Target, pb_grpc.GRPCInferenceServiceStub]]:
    with serve(repository, "--threads", "1", *options) as target, target.inference() as stub:
        yield target, stub


def busy(target: Target) -> None:
    """Wait until the only thread is inside a run and its queue is empty again."""
    until(
        lambda: (
            target.metric("heed_inflight_requests") >= 1
            and target.metric("heed_queue_requests") == 0
        )
    )


def queued(count: int) -> Callable[[Target], None]:
    return lambda target: until(lambda: target.metric("heed_queue_requests") == count)


def runs(target: Target) -> list[int]:
    """Return the number of rows in each size of run so far, as statistics count them."""
    with target.inference() as stub:
        (counted,) = stub.ModelStatistics(pb.ModelStatisticsRequest(name="pixels")).model_stats
    return sorted(
        size.batch_size for size in counted.batch_stats for _ in range(size.compute_infer.count)
    )


@pytest.mark.parametrize("rows", [1, 2, 16])
@pytest.mark.parametrize("model", ["pixels", "pictures"])
def test_answer_is_that_of_the_graph_alone(
    row_target: Target, row_kinds: Path, model: str, rows: int
) -> None:
    arrays = image(rows, 2)

    found = infer(row_target, tensors.request(model, arrays))

    wanted = tensors.direct(row_kinds / model / "1", arrays)
    assert list(found) == ["total", "product"]
    for name, array in found.items():
        np.testing.assert_allclose(array, wanted[name], atol=TOLERANCE)


def test_callers_of_many_shapes_get_their_own_answers(row_target: Target, row_kinds: Path) -> None:
    drawn = [image(1 + seed % 4, 1 + seed % 3, seed) for seed in range(24)]

    with row_target.inference() as stub:
        calls = [tensors.start(stub, "pixels", arrays) for arrays in drawn]
        found = [tensors.answer(call.result()) for call in calls]

    for arrays, answer in zip(drawn, found, strict=True):
        wanted = tensors.direct(row_kinds / "pixels" / "1", arrays)
        np.testing.assert_allclose(answer["product"], wanted["product"], atol=TOLERANCE)


def test_output_asked_for_comes_alone(row_target: Target) -> None:
    found = infer(row_target, tensors.request("pixels", image(), ["product"]))

    assert list(found) == ["product"]


def without_shift() -> Arrays:
    return {"pixels": image()["pixels"]}


@pytest.mark.parametrize(
    ("model", "arrays", "hint"),
    [
        ("pixels", without_shift(), "'shift' is missing; the model takes pixels, shift"),
        ("pixels", image() | {"size": np.zeros((1, 2), np.int64)}, "'size' is unknown"),
        (
            "pixels",
            image() | {"pixels": np.zeros((1, 3, 4), np.float64)},
            "'pixels' is FP64, the model takes FP32",
        ),
        (
            "pixels",
            image() | {"pixels": np.zeros((3, 4), np.float32)},
            "'pixels' has shape [3, 4], the model takes [-1, -1, 4], where -1 is free",
        ),
        ("pixels", image() | {"pixels": np.zeros((1, 3, 5), np.float32)}, "takes [-1, -1, 4]"),
        ("pictures", image(height=3), "has shape [1, 3, 4], the model takes [-1, 2, 4]"),
        ("pixels", image() | {"shift": image(2)["shift"]}, "'shift' has 2 rows"),
        ("pixels", image(17), "send 1 to 16 rows"),
        ("pixels", image(0), "send 1 to 16 rows"),
        ("pixels", image(height=0), "none of them empty"),
    ],
)
def test_bad_tensor_says_what_to_change(
    row_target: Target, model: str, arrays: Arrays, hint: str
) -> None:
    with row_target.inference() as stub, pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(tensors.request(model, arrays), timeout=30)

    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert hint in str(caught.value.details())


def test_waiting_rows_of_one_shape_share_runs(row_kinds: Path) -> None:
    with one_thread(row_kinds, "--max-batch-rows", "3") as (target, stub):
        calls = [tensors.start(stub, "pixels", slow())]
        busy(target)
        calls += [tensors.start(stub, "pixels", image(2)), tensors.start(stub, "pixels", image())]
        queued(2)(target)
        calls += [tensors.start(stub, "pixels", image(height=5))]
        queued(3)(target)
        calls += [tensors.start(stub, "pixels", image(4))]
        queued(4)(target)

        assert [tensors.code(call) for call in calls] == ["OK"] * 5
        assert runs(target) == [1, 1, 1, 3, 3]


def test_bundle_limits_rows_unless_configured(row_kinds: Path) -> None:
    with one_thread(row_kinds) as (target, stub):
        assert tensors.code(tensors.start(stub, "pixels", image(9))) == "OK"

        assert runs(target) == [1, 4, 4]


def test_poisonous_row_fails_only_its_own_call(row_kinds: Path) -> None:
    poisoned = image(2)
    poisoned["pixels"][1, 0, 0] = POISON_ID
    with one_thread(row_kinds, "--max-batch-rows", "16") as (target, stub):
        blocker = tensors.start(stub, "pixels", slow())
        busy(target)
        drawn = [image(2, seed=1), poisoned, image(seed=2), image(seed=3)]
        calls = [tensors.start(stub, "pixels", arrays) for arrays in drawn]
        queued(4)(target)

        assert [tensors.code(call) for call in calls] == ["OK", "INTERNAL", "OK", "OK"]
        assert tensors.code(blocker) == "OK"
        assert target.metric("heed_run_failures_total") == 1
        assert runs(target) == [1, 6]


def test_expired_rows_never_reach_the_runtime(row_kinds: Path) -> None:
    with one_thread(row_kinds) as (target, stub):
        blocker = tensors.start(stub, "pixels", slow())
        busy(target)
        expired = [tensors.start(stub, "pixels", image(), timeout=0.05) for _ in range(3)]
        assert [tensors.code(call) for call in expired] == ["DEADLINE_EXCEEDED"] * 3
        queued(0)(target)

        assert not blocker.done()
        assert tensors.code(blocker) == "OK"
        assert runs(target) == [1]


def test_cancelled_caller_leaves_batch_mates_answered(row_kinds: Path) -> None:
    with one_thread(row_kinds) as (target, stub):
        blocker = tensors.start(stub, "pixels", slow())
        busy(target)
        mates = [tensors.start(stub, "pixels", image(seed=seed)) for seed in range(3)]
        queued(3)(target)
        mates[1].cancel()

        assert [tensors.code(mates[number]) for number in (0, 2)] == ["OK", "OK"]
        assert tensors.code(blocker) == "OK"
        assert target.metric('heed_rejected_total{reason="cancelled"}') == 1


def test_queue_is_bounded_in_rows(row_kinds: Path) -> None:
    with one_thread(row_kinds, "--max-queue-rows", "4") as (target, stub):
        blocker = tensors.start(stub, "pixels", slow())
        busy(target)
        waiting = tensors.start(stub, "pixels", image(3))
        queued(1)(target)
        full, never = (tensors.start(stub, "pixels", image(rows)) for rows in (2, 5))

        assert tensors.code(full) == "RESOURCE_EXHAUSTED"
        assert "3 rows are waiting" in str(full.exception())
        assert tensors.code(never) == "INVALID_ARGUMENT"
        assert "split it" in str(never.exception())
        assert [tensors.code(call) for call in (blocker, waiting)] == ["OK", "OK"]


def test_rows_are_not_counted_as_tokens(row_target: Target) -> None:
    infer(row_target, tensors.request("pixels", image(2)))

    assert target_sum(row_target, "heed_batch_sequences_sum") >= 2
    for name in ("heed_tokens_total", "heed_batch_tokens_count", "heed_request_tokens_count"):
        assert target_sum(row_target, name) == 0


def target_sum(target: Target, name: str) -> float:
    return target.metric(f'{name}{{model="pixels"')


@pytest.mark.parametrize("call", ["Embed", "Tokenize"])
def test_text_calls_say_what_the_model_is_for(row_target: Target, call: str) -> None:
    requests = {
        "Embed": text_pb2.EmbedRequest(model="pictures", texts=["a"]),
        "Tokenize": text_pb2.TokenizeRequest(model="pictures", texts=["a"]),
    }
    with row_target.text() as stub, pytest.raises(grpc.RpcError) as caught:
        getattr(stub, call)(requests[call], timeout=30)

    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"is for image-classify, which {call} does not do" in str(caught.value.details())


def test_config_has_no_facts_about_text(row_target: Target) -> None:
    with row_target.inference() as stub:
        config = stub.ModelConfig(pb.ModelConfigRequest(name="pictures")).config

    assert [(one.name, list(one.dims)) for one in config.input] == [
        ("pixels", [2, COLUMNS]),
        ("shift", [len(TAGS)]),
    ]
    assert config.parameters["task"].string_value == "image-classify"
    assert config.parameters["mask"].string_value == "none"
    assert "max_tokens" not in config.parameters


def test_bench_is_for_text(row_kinds: Path) -> None:
    with pytest.raises(ConfigInvalid, match="takes whole rows"):
        bench.measure(open_bundle(row_kinds / "pixels" / "1"), None, ServerConfig())
