"""What this machine is, in words that are equal on machines where measurements hold."""

import hashlib
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
GPUS = Path("/proc/driver/nvidia/gpus")
UNKNOWN = "unknown"
_MODELS = ("model name", "Model", "cpu model")
_FLAGS = ("flags", "Features")
"""Names of the same things on x86 and others."""


def identity(provider: str, num_cores: int, *, cpuinfo: Path = CPUINFO, gpus: Path = GPUS) -> str:
    """Return the hardware that a provider runs on, `num_cores` of them for use.

    The flags are part of it because a virtual machine may hide some of the same CPU.
    """
    fields = _fields(cpuinfo)
    model = _first(fields, _MODELS) or platform.processor() or platform.machine()
    flags = " ".join(sorted(_first(fields, _FLAGS).split()))
    digest = hashlib.sha256(flags.encode()).hexdigest()[:12]
    cpu = f"{platform.machine()}, {model}, {num_cores} cores, flags {digest}"
    return cpu if provider == "cpu" else f"{cpu}, {provider} on {_gpus(gpus)}"


def _fields(path: Path) -> dict[str, str]:
    """Return the fields of the first processor; none where the system does not tell."""
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError:
        return {}
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields


def _first(fields: dict[str, str], names: tuple[str, ...]) -> str:
    return next((fields[name] for name in names if name in fields), "")


def _gpus(path: Path) -> str:
    """Return the names of the NVIDIA GPUs that the driver shows."""
    found = sorted(path.glob("*/information")) if path.is_dir() else []
    names = [_fields(file).get("Model", UNKNOWN) for file in found]
    return " + ".join(sorted(names)) or UNKNOWN
