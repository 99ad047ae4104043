"""Limits of the port itself: message size, also after decompression."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from loopback import Target, serve
from statuses import status

from protos.heed.v1 import text_pb2 as pb

LIMIT = 1 << 20
BOMB = 256 << 20
"""Zeroes, of which gzip and deflate leave a thousandth: far below the limit."""


@pytest.fixture(scope="module")
def limited(repository: Path) -> Iterator[Target]:
    with serve(repository, "--max-message-bytes", str(LIMIT)) as target:
        yield target


def send(target: Target, message: bytes, compression: grpc.Compression | None = None) -> str:
    """Send bytes to Embed and return the status."""
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(target.address, options, compression) as channel:
        embed: Any = channel.unary_unary("/heed.v1.TextService/Embed")
        return status(lambda: embed(message, timeout=60))


def test_message_above_the_limit_is_refused(limited: Target) -> None:
    text = pb.EmbedRequest(model="tiny", texts=["word1 " * (LIMIT // 6)]).SerializeToString()

    assert len(text) > LIMIT
    assert send(limited, text) == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_call_is_answered(limited: Target, compression: grpc.Compression) -> None:
    call = pb.EmbedRequest(model="tiny", texts=["word1"]).SerializeToString()

    assert send(limited, call, compression) == "OK"


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_message_that_expands_beyond_the_limit_is_refused_before_it_is_expanded(
    limited: Target, compression: grpc.Compression
) -> None:
    before = limited.metric("process_resident_memory_bytes")

    assert send(limited, bytes(BOMB), compression) == "RESOURCE_EXHAUSTED"
    assert limited.metric("process_resident_memory_bytes") < before + BOMB // 8


@pytest.mark.parametrize(("num_bytes", "expected"), [(8_000, "OK"), (64_000, "RESOURCE_EXHAUSTED")])
def test_metadata_has_a_limit(limited: Target, num_bytes: int, expected: str) -> None:
    call = pb.EmbedRequest(model="tiny", texts=["word1"])
    metadata = (("x-filler", "x" * num_bytes),)
    with limited.text() as stub:
        assert status(lambda: stub.Embed(call, metadata=metadata, timeout=30)) == expected
