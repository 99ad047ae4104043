"""Parity: the session as it will be served against the PyTorch model it came from.

The reference runs every sequence alone, unpadded, with eager attention, the model's own positions
and FP32; it shares no code with the graph. Only the vectors of real sequences are compared.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from export.errors import ParityBroken
from export.graph.heads import Head
from export.proof.batches import Batch, Ids
from server.repository.manifest import Parity
from server.runtime.session import Session

Vectors = NDArray[np.float32]

TOLERANCE = 1e-4
"""Largest absolute difference. FP32 kernels that sum in another order differ by about 1e-6."""


def reference(module: PreTrainedModel, head: Head, sequences: Iterable[Ids]) -> Vectors:
    """Return the embedding of each sequence as PyTorch computes it."""
    vectors = []
    with torch.inference_mode(), _one_thread():
        for sequence in sequences:
            ids = torch.from_numpy(sequence).unsqueeze(0)
            output = module(input_ids=ids, attention_mask=torch.ones_like(ids))
            states = output.last_hidden_state[0]
            vector = states[0] if head.mode == "cls" else states.mean(dim=0)
            if head.normalize:
                vector = torch.nn.functional.normalize(vector, dim=0)
            vectors.append(vector.numpy())
    return np.stack(vectors)


def compare(
    session: Session, batches: Sequence[Batch], expected: Sequence[Vectors]
) -> tuple[Parity, ...]:
    """Run every batch and return the largest difference of each.

    Raises:
        ParityBroken: lists the cases beyond the tolerance with their figures.
    """
    measured, broken = [], []
    for batch, vectors in zip(batches, expected, strict=True):
        (found,) = session.run(batch.feeds)
        if found.shape != vectors.shape:
            broken.append(f"{batch.case}: shape {found.shape} instead of {vectors.shape}")
            continue
        difference = float(np.max(np.abs(np.subtract(found, vectors))))
        measured.append(Parity(batch.case, difference, TOLERANCE))
        # Written so that NaN fails.
        if not difference <= TOLERANCE:
            broken.append(f"{batch.case}: differs by {difference:.2g}")
    if broken:
        raise ParityBroken(
            f"the graph does not reproduce PyTorch within {TOLERANCE:g}: " + "; ".join(broken)
        )
    return tuple(measured)


@contextmanager
def _one_thread() -> Iterator[None]:
    # Short sequences gain nothing from a pool of threads, and on busy cores its members spin
    # waiting for each other: 17 s instead of 1 s for MiniLM on two shared cores.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
