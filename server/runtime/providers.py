"""Execution providers by heed's names, and proof that the one asked for is the one in use.

ONNX Runtime falls back to CPU with a log line when a provider cannot load; here that is an error.
"""

from collections.abc import Sequence

import onnxruntime as ort

from server.errors import ProviderUnavailable

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""heed's name -> ONNX Runtime's name."""

ARENAS = {"cpu": "cpu:0", "cuda": "gpu:0"}
"""heed's name -> what ONNX Runtime calls the memory that runs allocate from."""

INSTALL = {"cpu": "pip install 'heed[cpu]'", "cuda": "pip install 'heed[gpu]'"}


def require_available(provider: str) -> str:
    """Return ONNX Runtime's name of a provider that the installed build contains.

    Raises:
        ProviderUnavailable: unknown name, or not in this build of ONNX Runtime.
    """
    name = PROVIDERS.get(provider)
    if name is None:
        raise ProviderUnavailable(
            f"provider '{provider}' is unknown; use one of {', '.join(PROVIDERS)}"
        )
    available: Sequence[str] = ort.get_available_providers()
    if name not in available:
        raise ProviderUnavailable(
            f"provider '{provider}' is not in this ONNX Runtime build (it has "
            f"{', '.join(available)}); {INSTALL[provider]}"
        )
    if provider == "cuda":
        # CUDA and cuDNN come as wheels beside this one, where the loader does not look by itself.
        ort.preload_dlls()
    return name


def chain(provider: str, device_memory_bytes: int = 0) -> list[tuple[str, dict[str, str]]]:
    """Return the providers of a session with their options, in the order of preference.

    Raises:
        ProviderUnavailable: see `require_available`.
    """
    name = require_available(provider)
    if provider == "cpu":
        return [(name, {})]
    options = {
        # The default doubles the arena each time it grows; what is not needed stays free here.
        "arena_extend_strategy": "kSameAsRequested",
        # The default tries every algorithm on each new shape, and shapes of requests never end.
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    if device_memory_bytes:
        options["gpu_mem_limit"] = str(device_memory_bytes)
    # CPU stays listed behind CUDA for the shape arithmetic that belongs on the host.
    return [(name, options), (PROVIDERS["cpu"], {})]


def require_used(provider: str, session: ort.InferenceSession) -> None:
    """Check that a created session really runs on the provider.

    Raises:
        ProviderUnavailable: ONNX Runtime fell back to another one.
    """
    used: Sequence[str] = session.get_providers()
    if not used or used[0] != PROVIDERS[provider]:
        raise ProviderUnavailable(
            f"provider '{provider}' could not be loaded, ONNX Runtime would use "
            f"{', '.join(used)}; check the driver and the CUDA libraries, or pass --provider cpu"
        )
