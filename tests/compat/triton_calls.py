"""Calls of the official Triton client, run in an environment of its own; prints one line a call.

Its protobuf definitions carry the same names as heed's, so both cannot live in one process.
Usage: triton_calls.py HOST:PORT MODEL
"""

import asyncio
import queue
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as sync
from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException

IDS = np.array([[2, 5, 6, 3], [2, 7, 3, 0]], np.int64)
SEGMENTS = (IDS != 0).astype(np.int64)
POSITIONS = np.tile(np.arange(4), (2, 1))
WAIT_S = 30


def inputs(module: Any) -> list[Any]:
    tensors = []
    for name, array in (
        ("input_ids", IDS),
        ("segment_ids", SEGMENTS),
        ("position_ids", POSITIONS),
    ):
        tensor = module.InferInput(name, array.shape, "INT64")
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    return tensors


def done(call: str) -> None:
    print("ok", call, flush=True)


def check_vectors(result: Any, request_id: str = "") -> None:
    vectors = result.as_numpy("sentence_embedding")
    assert vectors.shape == (2, 8)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    assert result.get_response().id == request_id


def refusal(client: Any) -> str:
    try:
        client.infer("nobody", inputs(sync))
    except InferenceServerException as error:
        return str(error.status())
    return "answered"


def call_sync(address: str, model: str) -> None:
    client = sync.InferenceServerClient(address)
    for name, answer in (
        ("is_server_live", client.is_server_live()),
        ("is_server_ready", client.is_server_ready()),
        ("is_model_ready", client.is_model_ready(model)),
        ("get_server_metadata", client.get_server_metadata().name == "heed"),
        ("get_model_metadata", client.get_model_metadata(model, as_json=True)["name"] == model),
        ("get_model_config", client.get_model_config(model).config.max_batch_size > 0),
        ("get_model_repository_index", client.get_model_repository_index().models[0].name == model),
    ):
        assert answer, name
        done(name)
    check_vectors(client.infer(model, inputs(sync), request_id="7"), "7")
    done("infer")
    check_vectors(client.infer(model, inputs(sync), compression_algorithm="gzip"))
    done("infer with gzip")
    answers: queue.Queue[Any] = queue.Queue()
    client.async_infer(
        model,
        inputs(sync),
        callback=lambda result, error: answers.put((result, error)),
        outputs=[sync.InferRequestedOutput("sentence_embedding")],
        client_timeout=WAIT_S,
    )
    result, error = answers.get(timeout=WAIT_S)
    assert error is None, error
    check_vectors(result)
    done("async_infer")
    statistics = client.get_inference_statistics(model).model_stats[0]
    assert statistics.inference_count >= 6
    assert statistics.inference_stats.success.count >= 3
    done("get_inference_statistics")
    assert refusal(client) == "StatusCode.NOT_FOUND"
    done("infer of an unknown model")
    client.close()


async def call_aio(address: str, model: str) -> None:
    async with aio.InferenceServerClient(address) as client:
        assert await client.is_server_ready()
        check_vectors(await client.infer(model, inputs(aio), request_id="8"), "8")
        done("aio infer")


if __name__ == "__main__":
    call_sync(*sys.argv[1:3])
    asyncio.run(call_aio(*sys.argv[1:3]))
