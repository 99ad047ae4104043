"""Inputs in buffers of the device that runs of the same shapes use again.

For devices with memory of their own. On CPU plain runs are as fast: MiniLM-L6 in fp32 on one Xeon
core, medians of 25 interleaved runs with plain feeds, OrtValues and IO binding: 4.46, 4.66 and
4.56 ms for 1 x 16 tokens; 43.0, 43.0 and 42.9 ms for 8 x 32.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

Array = NDArray[np.generic]

MAX_BUFFER_BYTES = 64 * 1024 * 1024
"""Device memory that one thread keeps in buffers. Token ids of 8192 tokens are 64 KiB; what is
larger than all of this together is handed over without one."""


class Binding:
    """Runs of one session with bound inputs and outputs. Belongs to one thread."""

    def __init__(self, session: ort.InferenceSession, device: str) -> None:
        self._session = session
        self._device = device
        self._buffers: OrderedDict[tuple[str, str, tuple[int, ...]], ort.OrtValue] = OrderedDict()
        self._num_bytes = 0

    @property
    def num_bytes(self) -> int:
        """Memory in buffers now."""
        return self._num_bytes

    def run(
        self, feeds: Mapping[str, Array], outputs: Sequence[str], options: ort.RunOptions | None
    ) -> list[Array]:
        """Run with inputs on the device, and return the outputs on the host."""
        binding = self._session.io_binding()
        kept = []  # an evicted buffer lives on until the run is over
        for name, array in feeds.items():
            if array.nbytes > MAX_BUFFER_BYTES:
                binding.bind_cpu_input(name, np.ascontiguousarray(array))
                continue
            buffer = self._filled(name, np.ascontiguousarray(array))
            kept.append(buffer)
            binding.bind_ortvalue_input(name, buffer)
        for name in outputs:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding, options)
        return cast("list[Array]", binding.copy_outputs_to_cpu())

    def _filled(self, name: str, array: Array) -> ort.OrtValue:
        key = (name, array.dtype.str, array.shape)
        buffer = self._buffers.pop(key, None)
        if buffer is None:
            # On the host a buffer is the array itself, and the caller's is not ours to write.
            source = array.copy() if self._device == "cpu" else array
            buffer = ort.OrtValue.ortvalue_from_numpy(source, self._device, 0)
            self._num_bytes += array.nbytes
        else:
            buffer.update_inplace(array)
        self._buffers[key] = buffer
        while self._num_bytes > MAX_BUFFER_BYTES and len(self._buffers) > 1:
            (_, dtype, shape), _ = self._buffers.popitem(last=False)
            self._num_bytes -= np.dtype(dtype).itemsize * int(np.prod(shape))
        return buffer
