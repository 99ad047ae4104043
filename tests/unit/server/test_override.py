"""A ModelConfig in JSON becomes options, or is refused by the name of a field."""

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from protos import inference_pb2 as pb
from server.config import ServerConfig
from server.errors import InvalidRequest, LoadFailed
from server.rpc.override import DEFAULT_CACHE_BYTES, read

CONFIG = ServerConfig(threads=2)
PRESENT = pb.ModelConfig(
    name="tiny",
    platform="onnxruntime_onnx",
    backend="onnxruntime",
    max_batch_size=256,
    input=[pb.ModelInput(name="ids", data_type=pb.TYPE_INT64, dims=[-1])],
    output=[pb.ModelOutput(name="vector", data_type=pb.TYPE_FP32, dims=[8])],
    default_model_filename="model.onnx",
    version_policy=pb.ModelVersionPolicy(latest=pb.ModelVersionPolicy.Latest(num_versions=1)),
    instance_group=[
        pb.ModelInstanceGroup(name="tiny", count=2, kind=pb.ModelInstanceGroup.KIND_CPU)
    ],
    dynamic_batching=pb.ModelDynamicBatching(
        priority_levels=3,
        default_priority_level=2,
        default_queue_policy=pb.ModelQueuePolicy(allow_timeout_override=True, max_queue_size=1024),
    ),
    parameters={"task": pb.ModelParameter(string_value="embed")},
    response_cache=pb.ModelResponseCache(enable=False),
)


def options(config: dict[str, Any], present: pb.ModelConfig | None = PRESENT) -> dict[str, Any]:
    return read(json.dumps(config), "tiny", CONFIG, present)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {}),
        ({"name": "tiny", "backend": "onnxruntime"}, {}),
        ({"version_policy": {"specific": {"versions": [3, 1]}}}, {"versions": "1+3"}),
        ({"version_policy": {"latest": {"num_versions": 2}}}, {"versions": "latest:2"}),
        ({"versionPolicy": {"latest": {}}}, {"versions": "latest"}),
        ({"version_policy": {"all": {}}}, {"versions": "all"}),
        ({"max_batch_size": 8}, {"max_request_sequences": 8}),
        ({"instance_group": [{"count": 3, "kind": "KIND_CPU"}]}, {"threads": 3}),
        ({"instanceGroup": [{"count": 1}]}, {"threads": 1}),
        ({"dynamic_batching": {}}, {}),
        (
            {"dynamic_batching": {"max_queue_delay_microseconds": 2500}},
            {"max_batch_delay_ms": 2.5},
        ),
        ({"dynamicBatching": {"maxQueueDelayMicroseconds": "0"}}, {"max_batch_delay_ms": 0}),
        (
            {"dynamic_batching": {"default_queue_policy": {"max_queue_size": 9}}},
            {"max_queue_requests": 9},
        ),
        ({"response_cache": {"enable": True}}, {"cache_bytes": DEFAULT_CACHE_BYTES}),
        ({"response_cache": {"enable": False}}, {"cache_bytes": 0}),
    ],
)
def test_what_can_be_changed_becomes_options(
    config: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert options(config) == expected


def test_the_config_that_the_server_gave_is_accepted() -> None:
    config = MessageToDict(PRESENT, preserving_proto_field_name=True)

    assert options(config) == {
        "versions": "latest",
        "max_request_sequences": 256,
        "threads": 2,
        "max_queue_requests": 1024,
        "cache_bytes": 0,
    }


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"optimization": {}}, "optimization"),
        ({"colour": "red"}, "colour"),
        ({"max_batch_size": "many"}, "max_batch_size"),
        ({"max_batch_size": 257}, "1 to 256"),
        ({"max_batch_size": 0}, "1 to 256"),
        ({"name": "other"}, "name is 'other'"),
        ({"backend": "python"}, "backend"),
        ({"default_model_filename": "other.onnx"}, "default_model_filename"),
        ({"model_transaction_policy": {"decoupled": True}}, "decoupled"),
        ({"input": [{"name": "ids"}]}, "input comes from the bundle"),
        ({"parameters": {"task": {"string_value": "rerank"}}}, "parameters"),
        ({"instance_group": [{"count": 1}, {"count": 1}]}, "several groups"),
        ({"instance_group": [{"kind": "KIND_GPU"}]}, "KIND_CPU"),
        ({"instance_group": [{"gpus": [1]}]}, "gpus"),
        ({"instance_group": [{"count": -1}]}, "count"),
        ({"dynamic_batching": {"priority_levels": 5}}, "priority_levels"),
        ({"dynamic_batching": {"preferred_batch_size": [4]}}, "preferred_batch_size"),
        (
            {"dynamic_batching": {"default_queue_policy": {"timeout_action": "DELAY"}}},
            "timeout_action",
        ),
        (
            {"dynamic_batching": {"default_queue_policy": {"allow_timeout_override": False}}},
            "allow_timeout_override",
        ),
        ({"dynamic_batching": {"default_queue_policy": {"max_queue_size": 0}}}, "max_queue_size"),
        ({"sequence_batching": {}}, "sequence_batching"),
        ({"version_policy": {"specific": {"versions": [0]}}}, "versions from 1"),
    ],
)
def test_what_cannot_be_changed_is_named(config: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest, match=field):
        options(config)


def test_facts_of_a_model_that_does_not_serve_cannot_be_checked() -> None:
    config = MessageToDict(PRESENT, preserving_proto_field_name=True)

    with pytest.raises(InvalidRequest, match="comes from the bundle"):
        options(config, present=None)


@pytest.mark.parametrize("text", ["", "{", "[1]", "7", "[" * 100_000])
def test_text_that_is_no_config_fails_the_load(text: str) -> None:
    with pytest.raises(LoadFailed, match="JSON"):
        read(text, "tiny", CONFIG, None)


@pytest.mark.parametrize(
    "text", [r'{"\ud800": 1}', r'{"name": "\ud800"}', r'{"parameters": {"\ud800": {}}}']
)
def test_half_a_character_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidRequest, match="surrogate"):
        read(text, "tiny", CONFIG, None)
