"""How much memory an export took, beyond what the libraries take by being imported."""

import resource
from pathlib import Path

_KIB = 1024


def peak_bytes() -> int:
    """Return the largest resident size of this process so far, mapped files included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB


def checkpoint_bytes(directory: Path) -> int:
    """Return the size of a checkpoint's weights on disk."""
    return sum(file.stat().st_size for file in directory.glob("*.safetensors"))
