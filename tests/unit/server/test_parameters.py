"""Every parameter is known, of the right type and in range, or refused by name."""

import re
from typing import Any

import pytest

from protos import inference_pb2 as pb
from server.errors import InvalidRequest, ServeError, Unsupported
from server.rpc.parameters import (
    Place,
    Requested,
    Scheduling,
    check_unload,
    decode_load,
    decode_place,
    decode_requested,
    decode_scheduling,
)

LEVELS = 3


def parameters(**values: dict[str, Any]) -> dict[str, pb.InferParameter]:
    return {name: pb.InferParameter(**value) for name, value in values.items()}


def repository(**values: dict[str, Any]) -> dict[str, pb.ModelRepositoryParameter]:
    return {name: pb.ModelRepositoryParameter(**value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Scheduling()),
        ({"priority": {"uint64_param": 3}}, Scheduling(priority=3)),
        ({"priority": {"int64_param": 1}}, Scheduling(priority=1)),
        ({"priority": {"uint64_param": 0}}, Scheduling()),
        ({"timeout": {"int64_param": 1500}}, Scheduling(timeout_s=0.0015)),
        ({"timeout": {"int64_param": 0}}, Scheduling()),
        ({"triton_enable_empty_final_response": {"bool_param": True}}, Scheduling()),
        ({"binary_data_output": {"bool_param": False}}, Scheduling()),
    ],
)
def test_scheduling_is_read(given: dict[str, dict[str, Any]], expected: Scheduling) -> None:
    assert decode_scheduling(parameters(**given), LEVELS) == expected


@pytest.mark.parametrize(
    ("given", "kind", "hint"),
    [
        ({"priority": {"uint64_param": 4}}, InvalidRequest, "0 to 3"),
        ({"priority": {"uint64_param": 2**64 - 1}}, InvalidRequest, "0 to 3"),
        ({"priority": {"int64_param": -1}}, InvalidRequest, "0 to 3"),
        ({"priority": {"string_param": "1"}}, InvalidRequest, "must be uint64 or int64"),
        ({"priority": {}}, InvalidRequest, "has no value"),
        ({"timeout": {"string_param": "1"}}, InvalidRequest, "must be int64"),
        ({"timeout": {"int64_param": -1}}, InvalidRequest, "negative"),
        ({"sequence_id": {"int64_param": 1}}, Unsupported, "leave it out"),
        ({"sequence_id": {"string_param": "a"}}, Unsupported, "leave it out"),
        ({"sequence_id": {"bool_param": True}}, InvalidRequest, "must be int64 or string"),
        ({"sequence_start": {"bool_param": True}}, Unsupported, "leave it out"),
        ({"sequence_end": {"int64_param": 1}}, InvalidRequest, "must be bool"),
        ({"triton_final_response": {"bool_param": True}}, InvalidRequest, "unknown"),
        ({"temperature": {"double_param": 0.5}}, InvalidRequest, "unknown"),
        (
            {"triton_enable_empty_final_response": {"int64_param": 1}},
            InvalidRequest,
            "must be bool",
        ),
    ],
)
def test_bad_scheduling_is_refused(
    given: dict[str, dict[str, Any]], kind: type[ServeError], hint: str
) -> None:
    with pytest.raises(kind, match=re.escape(hint)):
        decode_scheduling(parameters(**given), LEVELS)


def test_place_in_shared_memory_is_read() -> None:
    given = parameters(
        shared_memory_region={"string_param": "r"},
        shared_memory_byte_size={"int64_param": 8},
        shared_memory_offset={"int64_param": 4},
    )

    assert decode_place("input 'x'", given) == Place("r", 4, 8)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"shared_memory_byte_size": {"int64_param": 8}}, "'shared_memory_region' is missing"),
        ({"shared_memory_region": {"string_param": "r"}}, "'shared_memory_byte_size' is missing"),
        (
            {
                "shared_memory_region": {"string_param": "r"},
                "shared_memory_byte_size": {"int64_param": -8},
            },
            "negative",
        ),
        ({"shared_memory_regions": {"string_param": "r"}}, "unknown"),
    ],
)
def test_bad_place_is_refused(given: dict[str, dict[str, Any]], hint: str) -> None:
    with pytest.raises(InvalidRequest, match=hint):
        decode_place("input 'x'", parameters(**given))


def requested(*outputs: tuple[str, dict[str, dict[str, Any]]]) -> pb.ModelInferRequest:
    output = pb.ModelInferRequest.InferRequestedOutputTensor
    return pb.ModelInferRequest(
        outputs=[output(name=name, parameters=parameters(**given)) for name, given in outputs]
    )


def test_output_named_twice_is_asked_for_once() -> None:
    assert decode_requested(requested(("x", {}), ("y", {}), ("x", {}))) == [
        Requested("x"),
        Requested("y"),
    ]


def test_classes_are_read() -> None:
    message = requested(("x", {"classification": {"int64_param": 2}}))

    assert decode_requested(message) == [Requested("x", num_classes=2)]


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        (requested(("x", {"classification": {"int64_param": 0}})), "at least 1"),
        (requested(("x", {"classification": {"string_param": "1"}})), "must be int64"),
        (requested(("x", {"classes": {"int64_param": 1}})), "unknown"),
        (requested(("x", {}), ("x", {"classification": {"int64_param": 1}})), "two forms"),
        (
            requested(
                (
                    "x",
                    {
                        "classification": {"int64_param": 1},
                        "shared_memory_region": {"string_param": "r"},
                        "shared_memory_byte_size": {"int64_param": 8},
                    },
                )
            ),
            "does not go together",
        ),
    ],
)
def test_bad_form_of_an_output_is_refused(message: pb.ModelInferRequest, hint: str) -> None:
    with pytest.raises(InvalidRequest, match=hint):
        decode_requested(message)


def test_config_of_a_load_is_read() -> None:
    assert decode_load(repository(config={"string_param": "{}"})) == "{}"
    assert decode_load({}) is None


def test_files_of_a_load_are_not_served() -> None:
    given = {"file:1/model.onnx": pb.ModelRepositoryParameter(bytes_param=b"")}

    with pytest.raises(Unsupported, match="whole directory"):
        decode_load(given)


@pytest.mark.parametrize(
    "given", [{"config": {"int64_param": 1}}, {"configuration": {"string_param": "{}"}}]
)
def test_bad_load_is_refused(given: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(InvalidRequest):
        decode_load(repository(**given))


def test_unload_takes_dependents_and_nothing_else() -> None:
    check_unload(repository(unload_dependents={"bool_param": True}))
    with pytest.raises(InvalidRequest, match="unknown"):
        check_unload(repository(force={"bool_param": True}))
