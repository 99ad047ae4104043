"""Hand memory that was freed back to the system."""

import ctypes
import platform
import sys


def trim() -> None:
    """Give the system back what the allocator keeps for later; does nothing but with glibc.

    After a model was closed that can be most of its weights.
    """
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL("libc.so.6").malloc_trim(0)
