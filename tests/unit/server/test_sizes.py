"""Messages are as large as the largest legal call, and never beyond what gRPC can carry."""

from typing import Any

import pytest
from bundles import manifest

from server.repository.manifest import Limits, Manifest, TensorSpec
from server.repository.sizes import (
    ENVELOPE_BYTES,
    FREE_BYTES,
    GRPC_DEFAULT_BYTES,
    MAX_MESSAGE_BYTES,
    message_bytes,
)

ROWS = 256


def text(*shape: int, per: Any) -> Manifest:
    return manifest(
        "x", 1, limits=Limits(512, 30_000, 512), outputs=(TensorSpec("y", "FP32", shape, per),)
    )


def rows(*shape: int) -> Manifest:
    return manifest(
        "x", 1, mask="none", limits=None,
        inputs=(TensorSpec("x", "FP32", shape),), outputs=(TensorSpec("y", "FP32", (-1, 9)),),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("described", "values_per_row"),
    [
        (text(-1, 384, per="sequence"), 3 * 512),
        (text(-1, 30_000, per="sequence"), 30_000),
        (text(-1, -1, 9, per="token"), 9 * 512),
        (text(-1, 30_000, per="mask"), 30_000),
        (rows(-1, 3, 224, 224), 3 * 224 * 224),
    ],
)
def test_largest_legal_call_fits(described: Manifest, values_per_row: int) -> None:
    expected = max(GRPC_DEFAULT_BYTES, ENVELOPE_BYTES + ROWS * values_per_row * 8)

    assert message_bytes(described, ROWS) == expected


def test_free_shapes_get_room_for_a_few_images() -> None:
    assert message_bytes(rows(-1, 3, -1, -1), ROWS) == FREE_BYTES


def test_no_message_is_beyond_grpc() -> None:
    assert message_bytes(rows(-1, 3, 2000, 2000), ROWS) == MAX_MESSAGE_BYTES
