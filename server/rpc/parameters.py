"""Parameters of a request and of its tensors: checked by name and type, none ignored.

Pure. What a parameter asks of a model or a region is checked where that is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protos import inference_pb2 as pb
from server.errors import InvalidRequest, Unsupported

Parameters = Mapping[str, pb.InferParameter]

US = 1_000_000
UNCHANGING = {
    "binary_data_output": "bool_param",
    "headers": "string_param",
    "triton_enable_empty_final_response": "bool_param",
}
"""Request parameters that clients send by habit, and their types. One request has one answer here,
raw and final, whatever they say."""

UNSERVED = {
    "sequence_end": ("bool_param",),
    "sequence_id": ("int64_param", "string_param"),
    "sequence_start": ("bool_param",),
}
"""Request parameters of the protocol that would change the answer, and their types."""

TENSOR_UNCHANGING = {"binary_data": "bool_param", "binary_data_size": "int64_param"}
"""The same for tensors: gateways from HTTP leave these in."""

REGION, REGION_BYTES, REGION_OFFSET = (
    "shared_memory_region",
    "shared_memory_byte_size",
    "shared_memory_offset",
)


@dataclass(frozen=True, slots=True)
class Scheduling:
    """What a request says about when it is served."""

    priority: int = 0
    """Level, 1 is first; 0 leaves it to the server."""
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where in shared memory the values of a tensor lie."""

    region: str
    offset: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class Requested:
    """An output that is asked for, and in which form."""

    name: str
    num_classes: int = 0
    """Answer that many of the largest values of each row as text; 0 answers the tensor itself."""
    place: Place | None = None


def decode_scheduling(parameters: Parameters, priority_levels: int) -> Scheduling:
    """Return what the parameters of a request ask for.

    Raises:
        InvalidRequest: a parameter without a value, of the wrong type, out of range, or unknown.
        Unsupported: a parameter of the protocol that this server does not act on.
    """
    priority, timeout_s = 0, None
    for name, parameter in parameters.items():
        if name == "priority":
            priority = _value(name, parameter, "uint64_param", "int64_param")
            if not 0 <= priority <= priority_levels:
                raise InvalidRequest(
                    f"parameter 'priority' is {priority}; it must lie in 0 to {priority_levels}, "
                    "where 1 is served first and 0 is the middle"
                )
        elif name == "timeout":
            timeout_us = _value(name, parameter, "int64_param")
            if timeout_us < 0:
                raise InvalidRequest("parameter 'timeout' is negative; send microseconds from 0 on")
            timeout_s = timeout_us / US or None
        elif name in UNCHANGING:
            _value(name, parameter, UNCHANGING[name])
        elif name in UNSERVED:
            _value(name, parameter, *UNSERVED[name])
            raise Unsupported(
                f"parameter '{name}' is not served: no model here keeps state between requests; "
                "leave it out"
            )
        else:
            raise InvalidRequest(f"parameter '{name}' is unknown; leave it out")
    return Scheduling(priority, timeout_s)


def decode_place(label: str, parameters: Parameters) -> Place | None:
    """Return where an input lies in shared memory; None when it was sent.

    Raises:
        InvalidRequest: a parameter that is unknown, incomplete, or of the wrong type.
    """
    for name, parameter in parameters.items():
        if name in TENSOR_UNCHANGING:
            _value(f"{label}: {name}", parameter, TENSOR_UNCHANGING[name])
        elif name not in {REGION, REGION_BYTES, REGION_OFFSET}:
            raise InvalidRequest(f"{label}: parameter '{name}' is unknown; leave it out")
    if REGION not in parameters:
        if REGION_BYTES in parameters or REGION_OFFSET in parameters:
            raise InvalidRequest(f"{label}: parameter '{REGION}' is missing; name the region")
        return None
    if REGION_BYTES not in parameters:
        raise InvalidRequest(f"{label}: parameter '{REGION_BYTES}' is missing; say how much it is")
    region = _value(f"{label}: {REGION}", parameters[REGION], "string_param")
    sizes = [
        _value(f"{label}: {name}", parameters[name], "int64_param", "uint64_param")
        if name in parameters
        else 0
        for name in (REGION_OFFSET, REGION_BYTES)
    ]
    if min(sizes) < 0:
        raise InvalidRequest(f"{label}: {REGION_OFFSET} and {REGION_BYTES} must not be negative")
    return Place(region, *sizes)


def decode_requested(request: pb.ModelInferRequest) -> list[Requested]:
    """Return the outputs asked for, each once; none means all.

    Raises:
        InvalidRequest: a parameter that is unknown or of the wrong type, one output in two forms.
    """
    found: dict[str, Requested] = {}
    for output in request.outputs:
        one = _requested(output)
        if found.setdefault(one.name, one) != one:
            raise InvalidRequest(f"output '{one.name}' is asked for in two forms; choose one")
    return list(found.values())


def _requested(output: pb.ModelInferRequest.InferRequestedOutputTensor) -> Requested:
    label = f"output '{output.name}'"
    parameters = dict(output.parameters)
    classification = parameters.pop("classification", None)
    place = decode_place(label, parameters)
    if classification is None:
        return Requested(output.name, place=place)
    num_classes = _value(f"{label}: classification", classification, "int64_param")
    if num_classes < 1:
        raise InvalidRequest(
            f"{label}: classification is {num_classes}; ask for at least 1 class, or leave it out"
        )
    if place is not None:
        raise InvalidRequest(
            f"{label}: classification does not go together with shared memory; choose one"
        )
    return Requested(output.name, num_classes)


def _value(
    label: str, parameter: pb.InferParameter | pb.ModelRepositoryParameter, *kinds: str
) -> Any:  # noqa: ANN401  (by kind)
    kind = parameter.WhichOneof("parameter_choice")
    if kind is None:
        raise InvalidRequest(f"parameter '{label}' has no value")
    if kind not in kinds:
        wanted = " or ".join(name.removesuffix("_param") for name in kinds)
        raise InvalidRequest(
            f"parameter '{label}' is {kind.removesuffix('_param')}, it must be {wanted}"
        )
    return getattr(parameter, kind)


def decode_load(parameters: Mapping[str, pb.ModelRepositoryParameter]) -> str | None:
    """Return the `config` of a load call, None when there is none.

    Raises:
        InvalidRequest: a parameter that is unknown or of the wrong type.
        Unsupported: files to load instead of those of the repository.
    """
    text = None
    for name, parameter in parameters.items():
        if name.startswith("file:"):
            raise Unsupported(
                f"parameter '{name}' is not served: a bundle reaches the repository as a whole "
                "directory, with its digests; copy it there and load it without files"
            )
        if name != "config":
            raise InvalidRequest(f"parameter '{name}' is unknown; use config or none")
        text = _value(name, parameter, "string_param")
    return text


def check_unload(parameters: Mapping[str, pb.ModelRepositoryParameter]) -> None:
    """Refuse what an unload call cannot ask for.

    Raises:
        InvalidRequest: a parameter that is unknown or of the wrong type.
    """
    for name, parameter in parameters.items():
        if name != "unload_dependents":
            raise InvalidRequest(f"parameter '{name}' is unknown; use unload_dependents or none")
        # No model depends on another, so either value asks for what is done anyhow.
        _value(name, parameter, "bool_param")
