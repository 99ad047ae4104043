"""What is left to do with a vector after the graph has pooled and normalised it.

Pure NumPy.
"""

import numpy as np
from numpy.typing import NDArray


def cut_dimensions(
    vector: NDArray[np.float32], dimensions: int, *, normalize: bool
) -> NDArray[np.float32]:
    """Keep the first values of a Matryoshka embedding (Kusupati et al. 2022, arXiv:2205.13147).

    Normalises again where the whole vector was normalised, so that a dot product stays a cosine.
    """
    kept = vector[:dimensions]
    if not normalize:
        return kept
    norm = float(np.linalg.norm(kept))
    return kept / np.float32(norm) if norm > 0 else kept


def sparse(vector: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the places and values of what is not zero."""
    indices = np.flatnonzero(vector)
    return indices, vector[indices]
