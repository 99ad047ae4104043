"""Build the manifest of a bundle from what the export knows.

Pure: the promises that a server relies on, in one place. Digests are added by `publish`.
"""

from export.kinds.kind import Interface
from server.repository.manifest import (
    SCHEMA_VERSION,
    Card,
    Explain,
    Manifest,
    Precision,
    SessionOptions,
    Task,
)

CUDA = SessionOptions(max_batch_tokens=8192, max_batch_rows=32)
"""A GPU has no cache to fall out of and wants runs large enough to fill it."""


def build_manifest(
    interface: Interface,
    *,
    name: str,
    version: int,
    task: Task,
    precision: Precision,
    isa: str,
    opset: int,
    min_onnxruntime: str,
    cpu: SessionOptions,
    card: Card,
    explain: Explain | None,
) -> Manifest:
    """Return the manifest without digests."""
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        version=version,
        task=task,
        family=interface.family,
        hidden_size=interface.hidden_size,
        inputs=interface.inputs,
        outputs=interface.outputs,
        mask="segment_ids" if interface.is_packed else "none",
        precision=precision,
        isa=isa,
        opset=opset,
        min_onnxruntime=min_onnxruntime,
        sessions={"cpu": cpu, "cuda": CUDA},
        files={},
        card=card,
        limits=interface.limits,
        text=interface.text,
        pooling=interface.pooling,
        labels=interface.labels,
        processor=interface.processor,
        explain=explain,
    )
