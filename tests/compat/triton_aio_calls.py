"""Every call of the official asyncio client; prints one line for each group of them.

Usage: triton_aio_calls.py HOST:PORT, of a server as for triton_calls.py.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable
from typing import Any
from uuid import uuid4

import numpy as np
from triton_client import (
    ARRAYS,
    IDS,
    WAIT_S,
    Recorded,
    check_classes,
    check_code,
    check_vectors,
    done,
    inputs,
    slow_inputs,
)
from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException, shared_memory

MODEL = "tiny"


async def refusal(call: Awaitable[object]) -> object:
    try:
        return await call
    except InferenceServerException as error:
        return error


async def describe(client: Any) -> None:
    assert await client.is_server_live(headers={"x-caller": "test"})
    assert await client.is_server_ready(client_timeout=WAIT_S)
    assert await client.is_model_ready(MODEL)
    assert (await client.get_server_metadata()).name == "heed"
    assert (await client.get_model_metadata(MODEL, as_json=True))["name"] == MODEL
    assert (await client.get_model_config(MODEL)).config.name == MODEL
    assert len((await client.get_model_repository_index()).models) == 2
    assert (await client.get_inference_statistics(MODEL)).model_stats[0].name == MODEL
    done("describe")


async def infer(client: Any) -> None:
    check_vectors(await client.infer(MODEL, inputs(aio), request_id="8"), "8")
    for algorithm in ("gzip", "deflate"):
        check_vectors(await client.infer(MODEL, inputs(aio), compression_algorithm=algorithm))
    outputs = [aio.InferRequestedOutput("logits", class_count=3)]
    check_classes(await client.infer("topics", inputs(aio), outputs=outputs))
    check_code(await refusal(client.infer("nobody", inputs(aio))), "NOT_FOUND")
    slow = asyncio.create_task(client.infer(MODEL, slow_inputs(aio)))
    await asyncio.sleep(0)
    slow.cancel()
    await asyncio.wait([slow])
    assert slow.cancelled()
    done("infer")


async def stream(client: Any) -> None:
    async def messages() -> AsyncIterator[dict[str, Any]]:
        for number in range(20):
            name = "nobody" if number == 10 else MODEL
            yield {"model_name": name, "inputs": inputs(aio), "request_id": str(number)}

    answers = [one async for one in client.stream_infer(messages(), stream_timeout=WAIT_S)]
    assert len(answers) == 20
    for number, (result, error) in enumerate(answers):
        if number == 10:
            assert "nobody" in str(error)
        else:
            check_vectors(result, str(number))

    async def slow() -> AsyncIterator[dict[str, Any]]:
        yield {"model_name": MODEL, "inputs": slow_inputs(aio)}

    answered = client.stream_infer(slow())
    assert answered.cancel()
    done("stream")


async def regions(client: Any) -> None:
    key = f"/heed-compat-{uuid4().hex}"
    region = shared_memory.create_shared_memory_region("a", key, 3 * IDS.nbytes)
    try:
        shared_memory.set_shared_memory_region(region, list(ARRAYS.values()))
        await client.register_system_shared_memory("a", key, 3 * IDS.nbytes)
        tensors = [aio.InferInput(name, IDS.shape, "INT64") for name in ARRAYS]
        for index, tensor in enumerate(tensors):
            tensor.set_shared_memory("a", IDS.nbytes, index * IDS.nbytes)
        result = await client.infer(MODEL, tensors)
        sent = await client.infer(MODEL, inputs(aio))
        np.testing.assert_allclose(
            result.as_numpy("sentence_embedding"), sent.as_numpy("sentence_embedding"), rtol=1e-5
        )
        assert (await client.get_system_shared_memory_status("a")).regions["a"].key == key
        await client.unregister_system_shared_memory("a")
    finally:
        shared_memory.destroy_shared_memory_region(region)
    assert not (await client.get_cuda_shared_memory_status()).regions
    await client.unregister_cuda_shared_memory()
    cuda = client.register_cuda_shared_memory("a", b"AAAA", 0, 8)
    check_code(await refusal(cuda), "UNIMPLEMENTED")
    done("shared memory")


async def settings(client: Any) -> None:
    changed = await client.update_trace_settings(settings={"trace_rate": "9"})
    assert list(changed.settings["trace_rate"].value) == ["9"]
    await client.update_trace_settings(settings={"trace_rate": None})
    found = await client.get_trace_settings(MODEL, as_json=True)
    assert found["settings"]["trace_rate"]["value"] == ["1000"]
    await client.update_log_settings({"log_warning": True})
    assert (await client.get_log_settings()).settings["log_warning"].bool_param
    done("settings")


async def control(client: Any) -> None:
    await client.unload_model(MODEL)
    await client.load_model(MODEL, config='{"instance_group": [{"count": 1}]}')
    assert (await client.get_model_config(MODEL)).config.instance_group[0].count == 1
    check_code(await refusal(client.load_model("nobody")), "INTERNAL")
    done("control")


async def main(address: str) -> None:
    async with aio.InferenceServerClient(address) as opened:
        client = Recorded(opened)
        for calls in (describe, infer, stream, regions, settings, control):
            await calls(client)
    assert client.unused() == ["close"]


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
