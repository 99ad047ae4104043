"""The card: what one export proved, and with which versions of what.

Values only; the manifest carries them and `report` prints them.
"""

import platform
from datetime import UTC, datetime
from importlib import metadata

from export.build import Built
from export.traced import Traced
from server.repository.manifest import Card

_DISTRIBUTIONS = (
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "onnxscript",
    "optimum",
    "torch",
    "transformers",
)


def build_card(source: str, traced: Traced, built: Built, memory_bytes: int) -> Card:
    """Return the card of an export that has just been proven."""
    return Card(
        source=source,
        attention_modules=len(traced.attention_classes),
        fused_nodes=built.fused_nodes,
        fused_op=built.fused_op,
        parity=built.parity,
        versions=_versions(),
        exported_at=datetime.now(UTC).isoformat(timespec="seconds"),
        unfused=traced.unfused,
        quality=built.quality,
        speed=built.speed,
        layout=built.layout,
        kept_float=built.kept_float,
        peak_memory_bytes=memory_bytes,
        checkpoint_bytes=traced.checkpoint_bytes,
        notes=(*traced.notes, *built.notes),
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for distribution in metadata.distributions():
        name = distribution.name.lower().replace("_", "-")
        if name in _DISTRIBUTIONS or name in {"heed", "onnxruntime-gpu"}:
            found[name] = distribution.version
    return dict(sorted(found.items()))
