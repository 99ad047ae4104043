"""What the GPUs of this machine do, by NVML. Without its Python package or a driver: nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadtest.telemetry.samples import GpuSample

_DRIVER = Path("/proc/driver/nvidia/version")

try:
    import pynvml
except ImportError:  # the package is for machines with a GPU
    pynvml = None


class Gpus:
    """Every GPU that NVML shows. Close it when the run is over."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._handles: dict[int, Any] = {}
        self._open = False
        if pynvml is None:
            if _DRIVER.exists():
                self.notes.append("GPUs were not sampled: pip install nvidia-ml-py")
            return
        try:
            pynvml.nvmlInit()
            self._open = True
            count = pynvml.nvmlDeviceGetCount()
            self._handles = {gpu: pynvml.nvmlDeviceGetHandleByIndex(gpu) for gpu in range(count)}
        except pynvml.NVMLError as error:
            # A machine without a driver has no GPU to speak of.
            if _DRIVER.exists():
                self.notes.append(f"GPUs were not sampled: {error}")

    def look(self, at_s: float) -> list[GpuSample]:
        """Return one sample of each."""
        samples = []
        for gpu, handle in list(self._handles.items()):
            try:
                samples.append(_see(at_s, gpu, handle))
            except pynvml.NVMLError as error:
                self.notes.append(f"GPU {gpu} was not sampled from {at_s:.1f} s on: {error}")
                del self._handles[gpu]
        return samples

    def close(self) -> None:
        """Give NVML back."""
        if self._open:
            self._open = False
            self._handles = {}
            pynvml.nvmlShutdown()


def _see(at_s: float, gpu: int, handle: Any) -> GpuSample:  # noqa: ANN401  (NVML's own)
    return GpuSample(
        at_s=at_s,
        gpu=gpu,
        utilisation=float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),  # per cent
        memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).used),
        watts=_or_none(lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1000),
        sm_mhz=_or_none(lambda: float(pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM))),
    )


def _or_none(ask: Callable[[], float]) -> float | None:
    """Return an answer that not every device gives."""
    try:
        return ask()
    except pynvml.NVMLError:
        return None
