"""A model and the server in the protocol's own messages. Pure."""

import json
from collections.abc import Sequence

from protos import inference_pb2 as pb
from server import versions
from server.config import ServerConfig
from server.repository.bundle import MODEL_NAME
from server.repository.manifest import Manifest
from server.rpc.codec import DATA_TYPES
from server.tasks.model import LoadedModel

PLATFORM = "onnxruntime_onnx"
BACKEND = "onnxruntime"

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "parameters",
    "schedule_policy",
    "statistics",
    "system_shared_memory",
    "trace",
    "logging",
)
"""Extensions whose calls answer, in some configuration."""


def extensions(config: ServerConfig) -> list[str]:
    """Return the extensions whose calls work as the server runs. Clients trust this list."""
    lacking = set()
    if not config.shared_memory:
        lacking |= {"system_shared_memory"}
    if config.model_control != "explicit":
        lacking |= {"model_repository", "model_repository(unload_dependents)"}
    if config.reuse_port:
        lacking |= {"logging", "trace"}
    return [name for name in EXTENSIONS if name not in lacking]


def metadata(manifest: Manifest, ready: Sequence[str]) -> pb.ModelMetadataResponse:
    """Return every tensor of a model with its whole shape; `ready` are the versions that serve."""
    inputs, outputs = (
        [
            pb.ModelMetadataResponse.TensorMetadata(
                name=spec.name, datatype=spec.datatype, shape=spec.shape
            )
            for spec in specs
        ]
        for specs in (manifest.inputs, manifest.outputs)
    )
    return pb.ModelMetadataResponse(
        name=manifest.name, versions=ready, platform=PLATFORM, inputs=inputs, outputs=outputs
    )


def model_config(model: LoadedModel) -> pb.ModelConfig:
    """Return a model's settings as Triton's tools read them: shapes without the first dimension."""
    manifest, config = model.manifest, model.config
    return pb.ModelConfig(
        name=manifest.name,
        platform=PLATFORM,
        backend=BACKEND,
        version_policy=_version_policy(manifest.name, config.versions),
        max_batch_size=config.max_request_sequences,
        default_model_filename=MODEL_NAME,
        instance_group=[_instances(manifest.name, model.pool.num_threads, config.provider)],
        dynamic_batching=_batching(config),
        model_transaction_policy=pb.ModelTransactionPolicy(decoupled=False),
        response_cache=pb.ModelResponseCache(enable=config.cache_bytes > 0),
        input=[
            pb.ModelInput(name=spec.name, data_type=DATA_TYPES[spec.datatype], dims=spec.shape[1:])
            for spec in manifest.inputs
        ],
        output=[
            pb.ModelOutput(name=spec.name, data_type=DATA_TYPES[spec.datatype], dims=spec.shape[1:])
            for spec in manifest.outputs
        ],
        parameters={
            name: pb.ModelParameter(string_value=value) for name, value in _facts(manifest).items()
        },
    )


def _version_policy(name: str, text: str) -> pb.ModelVersionPolicy:
    policy, _ = versions.parse(text)
    choice = policy.of(name)
    if choice.exactly:
        specific = pb.ModelVersionPolicy.Specific(versions=sorted(choice.exactly))
        return pb.ModelVersionPolicy(specific=specific)
    if not choice.count:
        return pb.ModelVersionPolicy(all=pb.ModelVersionPolicy.All())
    latest = pb.ModelVersionPolicy.Latest(num_versions=choice.count)
    return pb.ModelVersionPolicy(latest=latest)


def _instances(name: str, num_threads: int, provider: str) -> pb.ModelInstanceGroup:
    is_cpu = provider == "cpu"
    kind = pb.ModelInstanceGroup.KIND_CPU if is_cpu else pb.ModelInstanceGroup.KIND_GPU
    return pb.ModelInstanceGroup(
        name=name, count=num_threads, kind=kind, gpus=[] if is_cpu else [0]
    )


def _batching(config: ServerConfig) -> pb.ModelDynamicBatching:
    return pb.ModelDynamicBatching(
        max_queue_delay_microseconds=int(config.max_batch_delay_ms * 1000),
        priority_levels=config.priority_levels,
        default_priority_level=middle_level(config.priority_levels),
        default_queue_policy=pb.ModelQueuePolicy(
            timeout_action=pb.ModelQueuePolicy.REJECT,
            allow_timeout_override=True,
            max_queue_size=config.max_queue_requests,
        ),
    )


def middle_level(priority_levels: int) -> int:
    """Return the level of requests that name none."""
    return (priority_levels + 1) // 2


def _facts(manifest: Manifest) -> dict[str, str]:
    """Return what a caller needs to know beside the tensors, as text."""
    facts: dict[str, str] = {
        "task": manifest.task,
        "mask": manifest.mask,
        "precision": manifest.precision,
    }
    for spec in manifest.outputs:
        facts[f"per.{spec.name}"] = spec.per
    if manifest.limits is not None:
        facts["max_tokens"] = str(manifest.limits.max_tokens)
    if manifest.text is not None and manifest.text.mask_id is not None:
        facts["mask_id"] = str(manifest.text.mask_id)
    if manifest.labels is not None:
        # Names may hold any character, so they travel as a JSON list.
        facts["labels"] = json.dumps(manifest.labels.names, ensure_ascii=False)
        facts["label_kind"] = manifest.labels.kind
        if manifest.labels.thresholds:
            facts["label_thresholds"] = json.dumps(manifest.labels.thresholds)
    return facts
