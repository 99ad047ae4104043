"""How many threads PyTorch may use."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep PyTorch on the calling thread.

    Short sequences gain nothing from a pool of threads, and on busy cores its members spin waiting
    for each other: 17 s instead of 1 s for MiniLM on two shared cores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
