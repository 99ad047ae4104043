"""The card: what one export proved, and with which versions of what.

Values only; the manifest carries them and `report` prints them.
"""

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from export.graph.fused import DOMAIN, OP_TYPE
from server.repository.manifest import Card, Parity

_DISTRIBUTIONS = (
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "onnxscript",
    "optimum",
    "torch",
    "transformers",
)
_ISA_FLAGS = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2")
"""From the most to the least capable for matrix products."""


def build_card(
    *, source: str, attention_modules: int, fused_nodes: int, parity: Sequence[Parity]
) -> Card:
    """Return the card of an export that has just been proven."""
    return Card(
        source=source,
        attention_modules=attention_modules,
        fused_nodes=fused_nodes,
        fused_op=f"{DOMAIN}.{OP_TYPE}",
        parity=tuple(parity),
        versions=_versions(),
        exported_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def isa() -> str:
    """Return machine and best instruction set, as in `x86_64 avx512_vnni`."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split()) if cpuinfo.is_file() else set()
    best = next((flag for flag in _ISA_FLAGS if flag in flags), None)
    return platform.machine() if best is None else f"{platform.machine()} {best}"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for distribution in metadata.distributions():
        name = distribution.name.lower().replace("_", "-")
        if name in _DISTRIBUTIONS or name in {"heed", "onnxruntime-gpu"}:
            found[name] = distribution.version
    return dict(sorted(found.items()))
