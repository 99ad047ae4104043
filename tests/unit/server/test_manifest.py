"""The manifest is read strictly and survives a round trip."""

import json

import pytest
from bundles import manifest

from server.errors import BundleCorrupt
from server.repository.manifest import decode, encode


def changed(**fields: object) -> bytes:
    return json.dumps(json.loads(encode(manifest("tiny", 1))) | fields).encode()


def test_round_trip() -> None:
    assert decode(encode(manifest("tiny", 3))) == manifest("tiny", 3)


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"", "bundle.json"),
        (b"[]", "Expected `object`"),
        (changed(task="telepathy"), "$.task"),
        (changed(schema_version=1), "$.schema_version"),
        (changed(surprise=1), "surprise"),
        (changed(name="../up"), "$.name"),
        (changed(version=0), "$.version"),
        (changed(limits={"max_tokens": 0, "vocabulary": 5, "max_position": 5}), "max_tokens"),
        (changed(files={"model.onnx": {"sha256": "short", "size_bytes": 1}}), "$.files"),
    ],
)
def test_wrong_field_is_named(data: bytes, hint: str) -> None:
    with pytest.raises(BundleCorrupt, match="export the bundle again") as caught:
        decode(data)

    assert hint in str(caught.value)
