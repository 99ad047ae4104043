"""Under which key the answer to a unit is kept: a digest of the model and all that the graph reads.

Parameters of a call are applied to answers after the run, so they are no part of it.
"""

from collections.abc import Callable, Iterable
from hashlib import blake2b

import numpy as np

from server.batching.layout import Array, U
from server.batching.packing import TokenSequence
from server.batching.row_layout import Row

KEY_BYTES = 16
"""128 bits: two of 2^40 different units share a key with a probability of 2^-49."""

Keys = Callable[[U], bytes]


def for_sequences(model: str) -> Keys[TokenSequence]:
    """Return the keys of token sequences under a name for the model that no other bundle has."""
    start = _start(model)
    return lambda unit: _digest(start, (unit.input_ids, unit.position_ids, unit.token_type_ids))


def for_rows(model: str) -> Keys[Row]:
    """Return the keys of whole rows."""
    start = _start(model)
    return lambda unit: _digest(start, unit.arrays)


def _start(model: str) -> "blake2b":
    return blake2b(model.encode() + b"\0", digest_size=KEY_BYTES)


def _digest(start: "blake2b", arrays: Iterable[Array | None]) -> bytes:
    # Datatype and shape tell how many bytes follow, so no two units read as the same bytes.
    digest = start.copy()
    for array in arrays:
        if array is None:
            digest.update(b"none;")
        else:
            digest.update(f"{array.dtype.str}{array.shape};".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.digest()
