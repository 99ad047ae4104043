"""What the CPU of this machine can do, as far as matrix products in low precision care."""

import platform
from pathlib import Path

FLAGS = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2")
"""From the most to the least capable, as Linux names them."""


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return which of `FLAGS` this CPU has; none where the system does not tell."""
    words = set(cpuinfo.read_text("utf-8").split()) if cpuinfo.is_file() else set()
    return frozenset(words.intersection(FLAGS))


def isa() -> str:
    """Return machine and best instruction set, as in `x86_64 avx512_vnni`."""
    flags = cpu_flags()
    best = next((flag for flag in FLAGS if flag in flags), None)
    return platform.machine() if best is None else f"{platform.machine()} {best}"


def lacking(needed: str) -> str:
    """Return the words of an instruction set that this machine lacks, empty when it has all."""
    present = {platform.machine(), *cpu_flags()}
    return " ".join(word for word in needed.split() if word not in present)
