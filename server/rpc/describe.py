"""A bundle's manifest in the protocol's own messages. Pure."""

import json
from collections.abc import Sequence

from protos import inference_pb2 as pb
from server.repository.bundle import MODEL_NAME
from server.repository.manifest import Manifest
from server.rpc.codec import DATA_TYPES

PLATFORM = "onnxruntime_onnx"


def metadata(manifest: Manifest, versions: Sequence[str]) -> pb.ModelMetadataResponse:
    """Return every tensor of a model with its whole shape."""
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
        name=manifest.name, versions=versions, platform=PLATFORM, inputs=inputs, outputs=outputs
    )


def config(manifest: Manifest, max_rows: int) -> pb.ModelConfig:
    """Return a model's settings as Triton's tools read them: shapes without the first dimension."""
    return pb.ModelConfig(
        name=manifest.name,
        platform=PLATFORM,
        backend="onnxruntime",
        max_batch_size=max_rows,
        default_model_filename=MODEL_NAME,
        dynamic_batching=pb.ModelDynamicBatching(),
        model_transaction_policy=pb.ModelTransactionPolicy(decoupled=False),
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
