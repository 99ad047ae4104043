"""Every call of the official synchronous client; prints one line for each group of them.

Usage: triton_calls.py HOST:PORT, of a server with models `tiny` and `topics`, --model-control
explicit and --shared-memory.
"""

import json
import queue
import sys
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

import numpy as np
import tritonclient.grpc as sync
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
from tritonclient.utils import InferenceServerException, shared_memory

MODEL = "tiny"
VECTOR_BYTES = 2 * 8 * 4


def refusal(call: Callable[[], object]) -> object:
    try:
        return call()
    except InferenceServerException as error:
        return error


def describe(client: Any) -> None:
    assert client.is_server_live(headers={"x-caller": "test"})
    assert client.is_server_ready(client_timeout=WAIT_S)
    assert client.is_model_ready(MODEL)
    assert not client.is_model_ready("nobody")
    extensions = client.get_server_metadata(as_json=True)["extensions"]
    assert {"classification", "statistics", "model_repository"} < set(extensions)
    metadata = client.get_model_metadata(MODEL, as_json=True)
    config = client.get_model_config(MODEL).config
    assert [one["name"] for one in metadata["inputs"]] == [one.name for one in config.input]
    assert config.max_batch_size > 1
    assert config.instance_group[0].count >= 1
    assert config.dynamic_batching.priority_levels == 3
    assert config.version_policy.latest.num_versions == 1
    index = client.get_model_repository_index(as_json=True)["models"]
    assert {one["name"]: one["state"] for one in index} == {"tiny": "READY", "topics": "READY"}
    done("describe")


def infer(client: Any) -> None:
    check_vectors(client.infer(MODEL, inputs(sync), request_id="7"), "7")
    for algorithm in ("gzip", "deflate"):
        check_vectors(client.infer(MODEL, inputs(sync), compression_algorithm=algorithm))
    check_vectors(
        client.infer(
            MODEL,
            inputs(sync),
            model_version="1",
            outputs=[sync.InferRequestedOutput("sentence_embedding")],
            priority=1,
            timeout=WAIT_S * 1_000_000,
            headers={"x-caller": "test"},
            client_timeout=WAIT_S,
        )
    )
    outputs = [sync.InferRequestedOutput("logits", class_count=3)]
    check_classes(client.infer("topics", inputs(sync), outputs=outputs))
    for options, code in (
        ({"model_name": "nobody"}, "NOT_FOUND"),
        ({"model_name": MODEL, "sequence_id": 5, "sequence_start": True}, "UNIMPLEMENTED"),
        ({"model_name": MODEL, "parameters": {"temperature": 0.5}}, "INVALID_ARGUMENT"),
        ({"model_name": MODEL, "client_timeout": 1e-6}, "DEADLINE_EXCEEDED"),
    ):
        check_code(refusal(partial(client.infer, inputs=inputs(sync), **options)), code)
    done("infer")


def async_infer(client: Any) -> None:
    answers: queue.Queue[Any] = queue.Queue()

    def keep(result: object, error: object) -> None:
        answers.put((result, error))

    client.async_infer(MODEL, inputs(sync), keep, request_id="8", client_timeout=WAIT_S)
    result, error = answers.get(timeout=WAIT_S)
    assert error is None, error
    check_vectors(result, "8")
    client.async_infer(MODEL, slow_inputs(sync), keep).cancel()
    _, error = answers.get(timeout=WAIT_S)
    check_code(error, "CANCELLED")
    done("async_infer")


def stream(client: Any) -> None:
    answers: queue.Queue[Any] = queue.Queue()

    def keep(result: object, error: object) -> None:
        answers.put((result, error))

    client.start_stream(keep, stream_timeout=WAIT_S, compression_algorithm="gzip")
    for number in range(20):
        name = "nobody" if number == 10 else MODEL
        client.async_stream_infer(
            name, inputs(sync), request_id=str(number), enable_empty_final_response=True
        )
    client.stop_stream()
    for number in range(20):
        result, error = answers.get(timeout=WAIT_S)
        if number == 10:
            assert "nobody" in str(error)
            continue
        check_vectors(result, str(number))
        assert result.get_response().parameters["triton_final_response"].bool_param
    assert answers.empty()

    client.start_stream(keep, headers={"triton_grpc_error": "true"})
    client.async_stream_infer("nobody", inputs(sync))
    check_code(answers.get(timeout=WAIT_S)[1], "NOT_FOUND")
    client.stop_stream()

    client.start_stream(keep)
    client.async_stream_infer(MODEL, slow_inputs(sync))
    client.stop_stream(cancel_requests=True)
    check_code(answers.get(timeout=WAIT_S)[1], "CANCELLED")
    done("stream")


def regions(client: Any) -> None:
    client.unregister_system_shared_memory()
    client.unregister_cuda_shared_memory()
    key = f"/heed-compat-{uuid4().hex}"
    region = shared_memory.create_shared_memory_region("r", key, 3 * IDS.nbytes + VECTOR_BYTES)
    try:
        shared_memory.set_shared_memory_region(region, list(ARRAYS.values()))
        client.register_system_shared_memory("r", key, 3 * IDS.nbytes + VECTOR_BYTES)
        status = client.get_system_shared_memory_status(as_json=True)["regions"]["r"]
        assert status["key"] == key
        tensors = [sync.InferInput(name, IDS.shape, "INT64") for name in ARRAYS]
        for index, tensor in enumerate(tensors):
            tensor.set_shared_memory("r", IDS.nbytes, index * IDS.nbytes)
        output = sync.InferRequestedOutput("sentence_embedding")
        output.set_shared_memory("r", VECTOR_BYTES, 3 * IDS.nbytes)
        result = client.infer(MODEL, tensors, outputs=[output])
        place = result.get_output("sentence_embedding")
        vectors = shared_memory.get_contents_as_numpy(
            region, np.float32, list(place.shape), offset=3 * IDS.nbytes
        )
        sent = client.infer(MODEL, inputs(sync)).as_numpy("sentence_embedding")
        np.testing.assert_allclose(vectors, sent, rtol=1e-5)
        again = refusal(lambda: client.register_system_shared_memory("r", key, 8))
        check_code(again, "ALREADY_EXISTS")
        client.unregister_system_shared_memory("r")
        assert not client.get_system_shared_memory_status().regions
    finally:
        shared_memory.destroy_shared_memory_region(region)
    assert not client.get_cuda_shared_memory_status().regions
    cuda = refusal(lambda: client.register_cuda_shared_memory("r", b"AAAA", 0, 8))
    check_code(cuda, "UNIMPLEMENTED")
    done("shared memory")


def settings(client: Any) -> None:
    changed = client.update_trace_settings(
        MODEL, {"trace_level": ["TIMESTAMPS"], "trace_rate": "5", "trace_count": None}
    )
    assert list(changed.settings["trace_level"].value) == ["TIMESTAMPS"]
    found = client.get_trace_settings(as_json=True)["settings"]
    assert found["trace_level"]["value"] == ["OFF"]
    cleared = client.update_trace_settings(MODEL, {"trace_level": None, "trace_rate": None})
    assert list(cleared.settings["trace_level"].value) == ["OFF"]
    log = client.update_log_settings({"log_verbose_level": 1, "log_info": True}, as_json=True)
    assert log["settings"]["log_verbose_level"]["uint32_param"] == 1
    client.update_log_settings({"log_verbose_level": 0})
    assert client.get_log_settings().settings["log_info"].bool_param
    file = refusal(lambda: client.update_log_settings({"log_file": "somewhere"}))
    check_code(file, "UNIMPLEMENTED")
    done("settings")


def control(client: Any) -> None:
    client.unload_model(MODEL, unload_dependents=True)
    assert not client.is_model_ready(MODEL)
    client.load_model(MODEL)
    assert client.is_model_ready(MODEL)
    config = client.get_model_config(MODEL, as_json=True)["config"]
    client.load_model(MODEL, config=json.dumps(config | {"max_batch_size": 4}))
    assert client.get_model_config(MODEL).config.max_batch_size == 4
    check_vectors(client.infer(MODEL, inputs(sync)))
    check_code(refusal(lambda: client.load_model("nobody")), "INTERNAL")
    files = {"file:1/model.onnx": b""}
    with_files = refusal(lambda: client.load_model(MODEL, config="{}", files=files))
    check_code(with_files, "UNIMPLEMENTED")
    done("control")


def count(client: Any) -> None:
    before = client.get_inference_statistics(MODEL).model_stats[0]
    client.infer(MODEL, inputs(sync))
    (after,) = client.get_inference_statistics(MODEL, "1").model_stats
    stages = ("success", "queue", "compute_input", "compute_infer", "compute_output")
    assert after.inference_count == before.inference_count + 2
    assert after.execution_count > before.execution_count
    for stage in stages:
        one, other = (getattr(each.inference_stats, stage) for each in (before, after))
        assert (other.count > one.count, other.ns >= one.ns) == (True, True), stage
    assert len(client.get_inference_statistics(as_json=True)["model_stats"]) == 2
    check_code(refusal(lambda: client.get_inference_statistics("nobody")), "INVALID_ARGUMENT")
    done("statistics")


def main(address: str) -> None:
    keepalive = sync.KeepAliveOptions(keepalive_time_ms=10_000, keepalive_permit_without_calls=True)
    client = Recorded(sync.InferenceServerClient(address, keepalive_options=keepalive))
    for calls in (describe, infer, async_infer, stream, regions, settings, count, control):
        calls(client)
    client.close()
    assert client.unused() == []


if __name__ == "__main__":
    main(sys.argv[1])
