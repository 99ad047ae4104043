"""Several versions of one name serve side by side, as --versions says."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import loopback
import pytest
from bundles import build_encoder
from loopback import Target, serve

from protos import inference_pb2 as oip
from protos.heed.v1 import text_pb2 as pb


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for version in (1, 2, 10):
        build_encoder(root, version=version)
    build_encoder(root, "other")
    return root


@pytest.fixture(scope="module")
def target(root: Path) -> Iterator[Target]:
    with serve(root, "--versions", "tiny=2+1", "--threads", "1") as target:
        yield target


def embed(target: Target, model: str, version: str = "") -> str:
    with target.text() as stub:
        request = pb.EmbedRequest(model=model, version=version, texts=["word1"])
        return str(stub.Embed(request).version)


def test_named_versions_answer_side_by_side(target: Target) -> None:
    assert [embed(target, "tiny", version) for version in ("1", "2")] == ["1", "2"]


def test_empty_version_is_the_highest_that_serves(target: Target) -> None:
    assert embed(target, "tiny") == "2"
    with target.inference() as stub:
        metadata = stub.ModelMetadata(oip.ModelMetadataRequest(name="tiny"))
    assert list(metadata.versions) == ["1", "2"]


def test_models_that_are_not_named_serve_their_latest(target: Target) -> None:
    assert embed(target, "other") == "1"


def test_version_that_was_not_selected_says_so(target: Target) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        embed(target, "tiny", "10")

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "not selected" in str(caught.value.details())


def test_latest_two(root: Path) -> None:
    with serve(root, "--versions", "latest:2", "--threads", "1") as target:
        assert [embed(target, "tiny", version) for version in ("2", "10", "")] == ["2", "10", "10"]


def test_versions_that_are_not_there_are_a_usage_error(root: Path) -> None:
    ended = loopback.run(root, "--versions", "tiny=3+4,nobody=1")

    assert ended.returncode == 2
    assert "'tiny' has no version 3, 4" in ended.stderr
    assert "'nobody' has no version 1" in ended.stderr


def test_mistakes_in_the_option_are_reported_with_all_others(root: Path) -> None:
    ended = loopback.run(root, "--versions", "newest,tiny=x", "--threads", "0")

    assert ended.returncode == 2
    assert [hint in ended.stderr for hint in ("'newest'", "'x'", "--threads 0")] == [True] * 3
