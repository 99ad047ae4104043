"""A ModelConfig in JSON, as clients send it with a load, to heed's own options for that model.

Pure. What is honoured wins over the server's options; what says how the model is anyhow is accepted
as long as it is true; all else is refused by name.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import json_format

from protos import inference_pb2 as pb
from server.config import ServerConfig
from server.errors import InvalidRequest, LoadFailed
from server.repository.bundle import MODEL_NAME
from server.rpc.describe import BACKEND, PLATFORM, middle_level

Options = dict[str, Any]

DEFAULT_CACHE_BYTES = 64 * 1024 * 1024
"""What `response_cache.enable` turns on where the server's own option is 0."""
FACTS = ("input", "output", "parameters")
"""Fields that only the model itself can confirm."""


def read(text: str, name: str, config: ServerConfig, present: pb.ModelConfig | None) -> Options:
    """Return the options that a `config` parameter sets, by their names in ServerConfig.

    `versions` is for this model alone, as `latest:2`, `all` or `1+3`. `present` is the model's
    config while it serves.

    Raises:
        LoadFailed: the text is not JSON.
        InvalidRequest: names the field that is unknown, malformed, or not for heed to change.
    """
    raw = _parse(text)
    try:
        given = json_format.ParseDict(raw, pb.ModelConfig())
    except json_format.ParseError as error:
        raise InvalidRequest(f"config: {error}; leave it out") from error
    _require_facts(given, name, present)
    options: Options = {}
    for field, convert in CONVERT.items():
        part = _part(raw, field)
        if part is not None:
            options |= convert(given, part, config)
    return options


def _parse(text: str) -> dict[str, Any]:
    try:
        raw = json.loads(text)
        # JSON can spell half of a surrogate pair, which is no text and which protobuf chokes on.
        json.dumps(raw, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest("config holds half of a surrogate pair; send whole text") from error
    except (ValueError, RecursionError) as error:
        raise LoadFailed(f"config is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise LoadFailed("config is not a JSON object; send a ModelConfig")
    return raw


def _part(raw: object, field: str) -> Any:  # noqa: ANN401  (a part of JSON)
    """Return a field of a JSON message under either of its names; None when it is not given."""
    assert isinstance(raw, Mapping), "ParseDict has accepted it"
    head, *tail = field.split("_")
    camel = head + "".join(word.capitalize() for word in tail)
    return raw.get(field, raw.get(camel))


def _require_facts(given: pb.ModelConfig, name: str, present: pb.ModelConfig | None) -> None:
    for field, value in (
        ("name", name),
        ("platform", PLATFORM),
        ("backend", BACKEND),
        ("default_model_filename", MODEL_NAME),
    ):
        found = getattr(given, field)
        if found not in {"", value}:
            raise InvalidRequest(f"config: {field} is '{found}', it is '{value}' here")
    if given.model_transaction_policy.decoupled:
        raise InvalidRequest("config: decoupled is not served; one request has one answer")
    for field in FACTS:
        found = getattr(given, field)
        if found and (present is None or found != getattr(present, field)):
            raise InvalidRequest(
                f"config: {field} comes from the bundle and cannot be changed; leave it out"
            )


def _versions(given: pb.ModelConfig, _: object, config: ServerConfig) -> Options:
    del config
    policy = given.version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "specific":
        numbers = sorted(set(policy.specific.versions))
        if not numbers or numbers[0] < 1:
            raise InvalidRequest("config: version_policy.specific must list versions from 1 on")
        return {"versions": "+".join(map(str, numbers))}
    if choice == "all":
        return {"versions": "all"}
    count = policy.latest.num_versions
    return {"versions": f"latest:{count}" if count > 1 else "latest"}


def _rows(given: pb.ModelConfig, _: object, config: ServerConfig) -> Options:
    # Messages are as large as the server's own limit needs, and cannot grow while it serves.
    if not 1 <= given.max_batch_size <= config.max_request_sequences:
        raise InvalidRequest(
            f"config: max_batch_size is {given.max_batch_size}; it must lie in 1 to "
            f"{config.max_request_sequences}, see --max-request-sequences"
        )
    return {"max_request_sequences": given.max_batch_size}


def _instances(given: pb.ModelConfig, _: object, config: ServerConfig) -> Options:
    kind = pb.ModelInstanceGroup.KIND_CPU if config.provider == "cpu" else _GPU
    if len(given.instance_group) > 1:
        raise InvalidRequest("config: instance_group has several groups; send one")
    for group in given.instance_group:
        if group.kind not in {pb.ModelInstanceGroup.KIND_AUTO, kind}:
            raise InvalidRequest(
                f"config: instance_group.kind must be {pb.ModelInstanceGroup.Kind.Name(kind)}: "
                f"the server runs on --provider {config.provider}"
            )
        if list(group.gpus) not in ([], [0]) or (group.gpus and kind != _GPU):
            raise InvalidRequest(f"config: instance_group.gpus is {list(group.gpus)}; leave it out")
        if group.count < 0:
            raise InvalidRequest("config: instance_group.count must be at least 1")
        # A GPU runs one batch at a time whatever the count, which is then a fact and no setting.
        if group.count and config.provider == "cpu":
            return {"threads": group.count}
    return {}


_GPU = pb.ModelInstanceGroup.KIND_GPU


def _batching(given: pb.ModelConfig, part: object, config: ServerConfig) -> Options:
    batching = given.dynamic_batching
    options: Options = {}
    for field, value in (
        ("priority_levels", config.priority_levels),
        ("default_priority_level", middle_level(config.priority_levels)),
    ):
        found = getattr(batching, field)
        if found not in {0, value}:
            raise InvalidRequest(
                f"config: dynamic_batching.{field} is {value} for the whole server, see "
                "--priority-levels; leave it out"
            )
    if _part(part, "max_queue_delay_microseconds") is not None:
        options["max_batch_delay_ms"] = batching.max_queue_delay_microseconds / 1000
    policy = _part(part, "default_queue_policy")
    if policy is not None:
        options |= _queue(batching.default_queue_policy, policy)
    return options


def _queue(policy: pb.ModelQueuePolicy, part: object) -> Options:
    if policy.timeout_action != pb.ModelQueuePolicy.REJECT:
        raise InvalidRequest(
            "config: timeout_action DELAY is not served; a late request is refused"
        )
    if _part(part, "allow_timeout_override") is False:
        raise InvalidRequest("config: allow_timeout_override is always true; leave it out")
    if _part(part, "max_queue_size") is None:
        return {}
    if not policy.max_queue_size:
        raise InvalidRequest("config: max_queue_size must be at least 1; every queue has a limit")
    return {"max_queue_requests": policy.max_queue_size}


def _cache(given: pb.ModelConfig, _: object, config: ServerConfig) -> Options:
    if not given.response_cache.enable:
        return {"cache_bytes": 0}
    return {"cache_bytes": config.cache_bytes or DEFAULT_CACHE_BYTES}


CONVERT: dict[str, Callable[[pb.ModelConfig, Any, ServerConfig], Options]] = {
    "version_policy": _versions,
    "max_batch_size": _rows,
    "instance_group": _instances,
    "dynamic_batching": _batching,
    "response_cache": _cache,
}
"""Field of ModelConfig that heed can change for one model -> what turns it into options."""
