"""How many bytes one call of a model, or its answer, may take on the wire.

Pure. The door is as wide as the largest legal call needs, and no wider: what is received is held in
memory before anything about it is checked.
"""

from math import prod

from server.repository.manifest import Manifest, TensorSpec

GRPC_DEFAULT_BYTES = 4 * 1024 * 1024
MAX_MESSAGE_BYTES = 2**31 - 1
"""Where gRPC and protobuf end."""
FREE_BYTES = 64 * 1024 * 1024
"""For models whose shapes are free: five images of 800 x 1333 pixels, or 17 minutes of speech."""
ENVELOPE_BYTES = 64 * 1024
"""Names, shapes and parameters around the tensors of one message."""
VALUE_BYTES = 8
"""A float of a typed or text answer takes up to 5 bytes on the wire; 8 leaves room."""


def message_bytes(manifest: Manifest, max_rows: int) -> int:
    """Return the message size that the largest legal call of a model needs, in or out.

    An answer per mask token is counted as one for each row.
    """
    received = sum(_received(manifest))
    sent = sum(_sent(manifest))
    largest = ENVELOPE_BYTES + max_rows * max(received, sent) * VALUE_BYTES
    if manifest.mask == "none" and any(-1 in spec.shape[1:] for spec in manifest.inputs):
        largest = max(largest, FREE_BYTES)
    return min(max(largest, GRPC_DEFAULT_BYTES), MAX_MESSAGE_BYTES)


def answer_values(spec: TensorSpec) -> int:
    """Return the values of an output for one of what it counts; free dimensions count as 1."""
    axes = 2 if spec.per == "token" else 1
    return prod(max(1, dimension) for dimension in spec.shape[axes:])


def _received(manifest: Manifest) -> list[int]:
    """Return the values of one row of each input."""
    if manifest.limits is not None and manifest.mask == "segment_ids":
        return [manifest.limits.max_tokens] * len(manifest.inputs)
    return [answer_values(spec) for spec in manifest.inputs]


def _sent(manifest: Manifest) -> list[int]:
    """Return the values of one row of each output."""
    length = manifest.limits.max_tokens if manifest.limits else 1
    return [
        (length if spec.per == "token" else 1) * answer_values(spec) for spec in manifest.outputs
    ]
