"""Floating point on the calling thread without denormal numbers.

Softmax over a masked row leaves probabilities of about 1e-39, and products with such numbers trap
into microcode: on one Xeon core of 2023, MiniLM-L6 in fp32 takes 70 ms for 16 sequences in one row
of 256 tokens and 48 ms without denormals, with every answer bit equal.
"""

import ctypes
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_FLUSH = 0x8040
"""Flush to zero and denormals are zero, in MXCSR (Intel SDM volume 1, 10.2.3)."""
_MXCSR = 7
"""Place of MXCSR in glibc's fenv_t on x86-64: behind the 28 bytes of the x87 environment."""


def _load() -> ctypes.PyDLL | None:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return None
    if platform.libc_ver()[0] != "glibc":
        return None
    # PyDLL keeps the interpreter lock: giving it up for nanoseconds could cost milliseconds.
    return ctypes.PyDLL("libm.so.6")


_libm = _load()


@contextmanager
def flushed() -> Iterator[None]:
    """Treat denormal numbers as zero inside, on this thread and threads that it starts.

    Does nothing where it is not known how: elsewhere than on Linux with glibc on x86-64.
    """
    if _libm is None:
        yield
        return
    before = (ctypes.c_uint32 * 8)()
    _libm.fegetenv(before)
    inside = (ctypes.c_uint32 * 8)(*before)
    inside[_MXCSR] |= _FLUSH
    _libm.fesetenv(inside)
    try:
        yield
    finally:
        _libm.fesetenv(before)
